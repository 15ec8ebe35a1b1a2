#if defined(__linux__)
// Priorities of this process by Linux system calls.
#include <dirent.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "base/file_descriptor.h"
#include "resource/priority_system.h"

namespace gogrid {
namespace {

Errno errno_of(long result) { return result < 0 ? errno : 0; }

template <class Number>
Answer<Number> parse(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view rest(end, text.data() + text.size());
  if (error != std::errc() || !(rest.empty() || rest == "\n")) return std::unexpected(EINVAL);
  return value;
}

Errno write_number(const char* path, std::string_view text) {
  const FileDescriptor file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return errno;
  return errno_of(::write(file.get(), text.data(), text.size()));
}

template <class Number>
Answer<Number> read_number(const char* path) {
  const FileDescriptor file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::unexpected(errno);
  std::array<char, 32> text{};
  const ssize_t got = ::read(file.get(), text.data(), text.size());
  if (got < 0) return std::unexpected(errno);
  return parse<Number>(std::string_view(text.data(), static_cast<std::size_t>(got)));
}

// Appends the threads in one block of getdents64(2): records {u64 inode, u64 offset, u16 length,
// u8 type, name}.
void append_threads(std::span<const std::byte> block, std::vector<int>& threads) {
  while (block.size() > offsetof(dirent64, d_name)) {
    const auto* entry = reinterpret_cast<const dirent64*>(block.data());
    if (const auto thread = parse<int>(entry->d_name)) threads.push_back(*thread);  // not "."
    block = block.subspan(std::min<std::size_t>(entry->d_reclen, block.size()));
  }
}

// A thread's timer slack has a file under the thread's own number in /proc, which is not listed but
// can be opened; it is not under task/.
std::string slack_file(int thread) { return "/proc/" + std::to_string(thread) + "/timerslack_ns"; }

// An absent file: of a thread that has ended, or of a kernel without it (before 4.6).
Errno explain_absence(int thread, Errno error) {
  if (error != ENOENT) return error;
  const bool ended = ::syscall(SYS_tgkill, ::getpid(), thread, 0) < 0 && errno == ESRCH;
  return ended ? ESRCH : ENOSYS;
}

class LinuxPrioritySystem final : public PrioritySystem {
 public:
  int current_thread() override { return ::gettid(); }

  Answer<std::vector<int>> threads() override {
    const FileDescriptor folder(::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return std::unexpected(errno);
    std::vector<int> threads;
    alignas(dirent64) std::array<std::byte, 8192> block;  // 250 threads
    while (true) {
      const ssize_t got = ::getdents64(folder.get(), block.data(), block.size());
      if (got < 0) return std::unexpected(errno);
      if (got == 0) return threads;
      append_threads(std::span(block).first(static_cast<std::size_t>(got)), threads);
    }
  }

  Errno set_nice(int thread, int nice) override {
    return errno_of(::setpriority(PRIO_PROCESS, static_cast<id_t>(thread), nice));
  }

  Answer<int> nice(int thread) override {
    errno = 0;  // -1 is a nice value too
    const int nice = ::getpriority(PRIO_PROCESS, static_cast<id_t>(thread));
    if (nice == -1 && errno != 0) return std::unexpected(errno);
    return nice;
  }

  Errno set_io(int thread, IoPriority io) override {
    if (io.level < kMostUrgentIoLevel || io.level > kLeastUrgentIoLevel) return EINVAL;
    // The kernel refuses a level beside the class "none".
    const int level = io.io_class == IoClass::kNone ? 0 : io.level;
    const int value = static_cast<int>(io.io_class) << IOPRIO_CLASS_SHIFT | level;
    return errno_of(::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, value));
  }

  Answer<IoPriority> io(int thread) override {
    const long value = ::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread);
    if (value < 0) return std::unexpected(errno);
    // Bits between level and class are hints of newer kernels.
    return IoPriority{static_cast<IoClass>(value >> IOPRIO_CLASS_SHIFT & 3),
                      static_cast<int>(value & kLeastUrgentIoLevel)};
  }

  Errno set_policy(int thread, SchedulingPolicy policy) override {
    const sched_param none{};
    return errno_of(::sched_setscheduler(thread, static_cast<int>(policy), &none));
  }

  Answer<SchedulingPolicy> policy(int thread) override {
    const int policy = ::sched_getscheduler(thread);
    if (policy < 0) return std::unexpected(errno);
    return static_cast<SchedulingPolicy>(policy & ~SCHED_RESET_ON_FORK);
  }

  Errno set_timer_slack(int thread, std::uint64_t nanoseconds) override {
    if (nanoseconds == 0) return EINVAL;  // the kernel takes it for "your default"
    if (thread == ::gettid()) {
      return errno_of(::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(nanoseconds), 0, 0, 0));
    }
    return explain_absence(thread,
                           write_number(slack_file(thread).c_str(), std::to_string(nanoseconds)));
  }

  Answer<std::uint64_t> timer_slack(int thread) override {
    if (thread == ::gettid()) {
      // prctl() of the C library answers an int: two seconds at most.
      const long nanoseconds = ::syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
      if (nanoseconds < 0) return std::unexpected(errno);
      return static_cast<std::uint64_t>(nanoseconds);
    }
    auto nanoseconds = read_number<std::uint64_t>(slack_file(thread).c_str());
    if (!nanoseconds) return std::unexpected(explain_absence(thread, nanoseconds.error()));
    return nanoseconds;
  }

  Errno set_oom_score(int score) override {
    return write_number("/proc/self/oom_score_adj", std::to_string(score));
  }

  Answer<int> oom_score() override { return read_number<int>("/proc/self/oom_score_adj"); }
};

}  // namespace

Result<std::unique_ptr<PrioritySystem>> host_priority_system() {
  return std::make_unique<LinuxPrioritySystem>();
}

}  // namespace gogrid
#endif

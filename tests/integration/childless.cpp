// childless PROGRAM [ARGUMENT]…: runs a program that dies (SIGSYS) as soon as it starts another: at
// execve, fork, vfork, or a clone that is no thread of its own. For tests that nothing in the
// product does.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

// The one execve that is let through has its path at this address. It is the program's own start;
// afterwards there is other memory.
constexpr std::uintptr_t kOwnPath = 0x13370000;
constexpr std::uint32_t kCloneThread = 0x00010000;  // CLONE_THREAD

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
constexpr std::size_t kCloneFlags = 0;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr std::size_t kCloneFlags = 0;
#endif

constexpr std::uint32_t argument(std::size_t index) {  // its lower half
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + index * sizeof(std::uint64_t));
}

sock_filter load(std::uint32_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
sock_filter give(std::uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }
// Skips `otherwise` instructions where the value is another.
sock_filter when(std::uint32_t value, std::uint8_t otherwise) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, otherwise);
}
sock_filter when_any(std::uint32_t bits, std::uint8_t otherwise) {
  return BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, otherwise);
}

bool forbid_children() {
  constexpr auto kDie = SECCOMP_RET_KILL_PROCESS;
  std::vector<sock_filter> filter{
      load(offsetof(seccomp_data, arch)),
      when(kArchitecture, 1),
      BPF_STMT(BPF_JMP | BPF_JA, 1),
      give(kDie),
      load(offsetof(seccomp_data, nr)),
      // Its flags are in memory, which a filter cannot read: the C library then uses clone.
      when(__NR_clone3, 1),
      give(SECCOMP_RET_ERRNO | ENOSYS),
      when(__NR_execveat, 1),
      give(kDie),
#ifdef __NR_fork
      when(__NR_fork, 1),
      give(kDie),
      when(__NR_vfork, 1),
      give(kDie),
#endif
      when(__NR_execve, 6),
      load(argument(0) + sizeof(std::uint32_t)),
      when(0, 3),
      load(argument(0)),
      when(static_cast<std::uint32_t>(kOwnPath), 1),
      give(SECCOMP_RET_ALLOW),
      give(kDie),
      when(__NR_clone, 3),
      load(argument(kCloneFlags)),
      when_any(kCloneThread, 1),
      give(SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_JMP | BPF_JA, 0),
  };
  // Whatever came here by a clone that is no thread has its flags in the accumulator, all others
  // their number.
  filter.push_back(load(offsetof(seccomp_data, nr)));
  filter.push_back(when(__NR_clone, 1));
  filter.push_back(give(kDie));
  filter.push_back(give(SECCOMP_RET_ALLOW));
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return 2;
  constexpr std::size_t kPathBytes = 4096;
  void* const place = ::mmap(reinterpret_cast<void*>(kOwnPath), kPathBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (place != reinterpret_cast<void*>(kOwnPath) || std::strlen(words[1]) >= kPathBytes) return 2;
  std::strcpy(static_cast<char*>(place), words[1]);
  if (!forbid_children()) {
    std::perror("childless");
    return 2;
  }
  ::syscall(SYS_execve, place, words + 1, environ);
  std::perror(words[1]);
  return 2;
}

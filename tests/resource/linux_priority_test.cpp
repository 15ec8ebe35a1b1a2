// The real system calls, in a forked process each: what is lowered cannot be raised again.
#if defined(__linux__)
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "resource/process_priority.h"
#include "support/sleepers.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using testing::Sleepers;

const PrioritySettings kQuiet{.nice = 15,
                              .io = IoPriority{IoClass::kIdle, 7},
                              .policy = SchedulingPolicy::kIdle,
                              .timer_slack_ns = 1'000'000,
                              .oom_score = 300};

// Runs `body` in a process of its own; its failed expectations are on standard error.
template <class Body>
void in_a_process(Body body) {
  std::fflush(nullptr);  // else the child prints it once more
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    body();
    std::fflush(nullptr);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "see above";
}

void drop_capabilities() {
  // RLIMIT_NICE 0: no nice value may be taken back.
  const rlimit none{0, 0};
  ASSERT_EQ(::setrlimit(RLIMIT_NICE, &none), 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, 2> data{};
  ASSERT_EQ(::syscall(SYS_capset, &header, data.data()), 0);
}

bool may_raise_priorities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
  return (data[0].effective & 1U << CAP_SYS_NICE) != 0;
}

std::unique_ptr<PrioritySystem> real_system() { return *host_priority_system(); }

struct Stat {
  int nice = 99;
  int policy = 99;
};

// Fields 19 and 41 of proc(5)'s stat, read without the code under test.
Stat stat_of(const fs::path& task) {
  std::ifstream file(task / "stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string word;
  Stat stat;
  for (int field = 3; fields >> word; ++field) {
    if (field == 19) stat.nice = std::stoi(word);
    if (field == 41) stat.policy = std::stoi(word);
  }
  return stat;
}

void expect_every_thread(int nice, int policy, std::size_t threads) {
  std::size_t seen = 0;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    const Stat stat = stat_of(task.path());
    EXPECT_EQ(stat.nice, nice) << task.path();
    EXPECT_EQ(stat.policy, policy) << task.path();
    ++seen;
  }
  EXPECT_GE(seen, threads);
}

const PriorityItem& item(const PriorityReport& report, std::string_view name) {
  for (const PriorityItem& item : report.items) {
    if (item.name == name) return item;
  }
  throw std::out_of_range("no such item");
}

std::string oom_score() {
  std::ifstream file("/proc/self/oom_score_adj");
  std::string text;
  file >> text;
  return text;
}

TEST(LinuxPriority, IsInForceInEveryThreadAsTheKernelShowsIt) {
  in_a_process([] {
    const Sleepers sleepers(9);
    ProcessPriority priority(real_system());
    const PriorityReport report = priority.apply(kQuiet);
    EXPECT_GE(report.threads.size(), 10U);
    for (const char* name : {"nice", "io", "policy", "oom_score_adj"}) {
      EXPECT_TRUE(item(report, name).as_wanted) << item(report, name).warning;
    }
    expect_every_thread(15, 5, 10);
    EXPECT_EQ(oom_score(), "300");
  });
}

TEST(LinuxPriority, IsInheritedByThreadsThatBeginLater) {
  in_a_process([] {
    ProcessPriority priority(real_system());
    priority.apply(kQuiet);
    const Sleepers sleepers(3);
    const PriorityReport report = priority.read();
    for (const char* name : {"nice", "io", "policy"}) {
      EXPECT_TRUE(item(report, name).as_wanted) << item(report, name).in_force;
    }
    expect_every_thread(15, 5, 4);
  });
}

TEST(LinuxPriority, WithoutPrivilegesLowersAndSaysWhatItCannotRaise) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer begins a thread of its own at any time after a fork";
#endif
  in_a_process([] {
    drop_capabilities();
    const Sleepers sleepers(3);
    ProcessPriority priority(real_system());
    const PriorityReport lowered = priority.apply(kQuiet);
    expect_every_thread(15, 5, 4);
    EXPECT_NE(item(lowered, "timer_slack_ns").warning.find("CAP_SYS_NICE"), std::string::npos);
    EXPECT_EQ(lowered.threads.front().timer_slack_ns, 1'000'000U) << "of the calling thread";

    const PriorityReport restored = priority.restore();
    expect_every_thread(15, 5, 4);
    EXPECT_NE(item(restored, "nice").warning.find("RLIMIT_NICE of at least 20"), std::string::npos)
        << item(restored, "nice").warning;
    EXPECT_NE(item(restored, "policy").warning.find("CAP_SYS_NICE"), std::string::npos);
    EXPECT_TRUE(item(restored, "io").as_wanted) << item(restored, "io").warning;
    EXPECT_TRUE(item(restored, "oom_score_adj").as_wanted);
    EXPECT_EQ(oom_score(), item(restored, "oom_score_adj").wanted);
  });
}

TEST(LinuxPriority, WithPrivilegesRestoresEverything) {
  if (!may_raise_priorities()) GTEST_SKIP() << "needs CAP_SYS_NICE";
  in_a_process([] {
    const Sleepers sleepers(9);
    ProcessPriority priority(real_system());
    const PrioritySettings before = priority.found();
    EXPECT_TRUE(priority.apply(kQuiet).as_wanted());
    const PriorityReport restored = priority.restore();
    EXPECT_TRUE(restored.as_wanted());
    for (const ThreadPriority& thread : restored.threads) {
      EXPECT_EQ(thread.nice, before.nice.value());
      EXPECT_EQ(thread.policy, before.policy.value());
      EXPECT_EQ(thread.timer_slack_ns, before.timer_slack_ns.value());
    }
  });
}

TEST(LinuxPriority, OfAThreadThatIsNoneAnswersNoSuchProcess) {
  const auto system = real_system();
  constexpr int kNobody = 0x7ffffff0;  // above any pid_max
  EXPECT_EQ(system->set_nice(kNobody, 19), ESRCH);
  EXPECT_EQ(system->nice(kNobody).error(), ESRCH);
  EXPECT_EQ(system->set_io(kNobody, {IoClass::kIdle, 7}), ESRCH);
  EXPECT_EQ(system->io(kNobody).error(), ESRCH);
  EXPECT_EQ(system->set_policy(kNobody, SchedulingPolicy::kIdle), ESRCH);
  EXPECT_EQ(system->policy(kNobody).error(), ESRCH);
  EXPECT_EQ(system->set_timer_slack(kNobody, 50'000), ESRCH);
  EXPECT_EQ(system->timer_slack(kNobody).error(), ESRCH);
}

TEST(LinuxPriority, ListsEveryThread) {
  in_a_process([] {
    const Sleepers sleepers(600);  // more than one block of the directory
    const auto threads = real_system()->threads();
    ASSERT_TRUE(threads.has_value());
    EXPECT_GE(threads->size(), 601U);
    EXPECT_EQ(threads->front(), ::getpid());
  });
}

TEST(LinuxPriority, RefusesLevelsAndSlacksThatMeanSomethingElseToTheKernel) {
  in_a_process([] {
    const auto system = real_system();
    EXPECT_EQ(system->set_io(::gettid(), {IoClass::kBestEffort, 8}), EINVAL);
    EXPECT_EQ(system->set_io(::gettid(), {IoClass::kBestEffort, -1}), EINVAL);
    EXPECT_EQ(system->set_timer_slack(::gettid(), 0), EINVAL);
  });
}

}  // namespace
}  // namespace gogrid
#endif

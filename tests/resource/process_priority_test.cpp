#include "resource/process_priority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

#include "resource/fake_priority_system.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using testing::FakePrioritySystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr IoPriority kIdleIo{IoClass::kIdle, 7};
const PrioritySettings kQuiet{.nice = 15,
                              .io = kIdleIo,
                              .policy = SchedulingPolicy::kIdle,
                              .timer_slack_ns = 1'000'000,
                              .oom_score = 300};

struct PriorityTest : ::testing::Test {
  FakePrioritySystem& fake = *new FakePrioritySystem;
  ProcessPriority priority{std::unique_ptr<PrioritySystem>(&fake)};
};

const PriorityItem& item(const PriorityReport& report, std::string_view name) {
  for (const PriorityItem& item : report.items) {
    if (item.name == name) return item;
  }
  throw std::out_of_range("no such item");
}

TEST_F(PriorityTest, SetsEveryThreadAndReadsItBack) {
  const PriorityReport report = priority.apply(kQuiet);
  EXPECT_TRUE(report.as_wanted());
  EXPECT_THAT(report.warning, IsEmpty());
  ASSERT_EQ(report.threads.size(), 3U);
  for (const ThreadPriority& thread : report.threads) {
    EXPECT_EQ(thread.nice, 15);
    EXPECT_EQ(thread.io, kIdleIo);
    EXPECT_EQ(thread.policy, SchedulingPolicy::kIdle);
    EXPECT_EQ(thread.timer_slack_ns, 1'000'000U);
  }
  EXPECT_EQ(fake.oom, 300);
  EXPECT_EQ(item(report, "nice").wanted, "15");
  EXPECT_EQ(item(report, "nice").in_force, "15");
  EXPECT_EQ(item(report, "io").in_force, "idle");
  EXPECT_EQ(item(report, "policy").in_force, "SCHED_IDLE");
  EXPECT_EQ(item(report, "timer_slack_ns").in_force, "1000000");
  EXPECT_EQ(item(report, "oom_score_adj").in_force, "300");
}

TEST_F(PriorityTest, LeavesWhatIsNotWanted) {
  const PriorityReport report = priority.apply({.nice = 10});
  EXPECT_TRUE(report.as_wanted());
  EXPECT_EQ(fake.alive[101].nice, 10);
  EXPECT_EQ(fake.alive[101].policy, SchedulingPolicy::kOther);
  for (const char* call : {"set_io", "set_policy", "set_slack", "set_oom", "oom"}) {
    EXPECT_EQ(fake.count(call), call == std::string("oom") ? 1U : 0U) << call;  // 1: found
  }
  EXPECT_THAT(item(report, "policy").wanted, IsEmpty());
  EXPECT_EQ(item(report, "policy").in_force, "SCHED_OTHER");
}

TEST_F(PriorityTest, SetsNothingWhereAllIsAsWanted) {
  priority.apply(kQuiet);
  fake.calls.clear();
  EXPECT_TRUE(priority.reapply().as_wanted());
  for (const char* call : {"set_nice", "set_io", "set_policy", "set_slack", "set_oom"}) {
    EXPECT_EQ(fake.count(call), 0U) << call;
  }
}

TEST_F(PriorityTest, FindsAThreadThatHasChangedItsOwn) {
  priority.apply(kQuiet);
  fake.alive[102].nice = -5;
  fake.alive[102].policy = SchedulingPolicy::kOther;
  EXPECT_EQ(item(priority.read(), "nice").in_force, "15 (2 threads), -5 (1 thread)");
  EXPECT_TRUE(priority.reapply().as_wanted());
  EXPECT_EQ(fake.alive[102].nice, 15);
  EXPECT_EQ(fake.alive[102].policy, SchedulingPolicy::kIdle);
}

TEST_F(PriorityTest, NamesTheMissingPrivilegeOfWhatIsNotPermitted) {
  for (const char* call : {"set_nice", "set_io", "set_policy", "set_slack", "set_oom"}) {
    fake.errors[{call, 0}] = call == std::string("set_nice") ? EACCES : EPERM;
  }
  const PriorityReport report = priority.apply({.nice = -5,
                                                .io = IoPriority{IoClass::kRealTime, 0},
                                                .policy = SchedulingPolicy::kBatch,
                                                .timer_slack_ns = 1,
                                                .oom_score = -500});
  EXPECT_FALSE(report.as_wanted());
  EXPECT_EQ(item(report, "nice").warning,
            "[priority] nice -5: not in force in 3 of 3 threads (Permission denied): needs "
            "CAP_SYS_NICE, or RLIMIT_NICE of at least 25");
  EXPECT_EQ(item(report, "nice").in_force, "0");
  EXPECT_THAT(item(report, "io").warning,
              AllOf(HasSubstr("real time 0"), HasSubstr("CAP_SYS_NICE or CAP_SYS_ADMIN")));
  EXPECT_THAT(item(report, "policy").warning, HasSubstr("RLIMIT_NICE"));
  EXPECT_THAT(item(report, "timer_slack_ns").warning, HasSubstr("CAP_SYS_NICE"));
  EXPECT_THAT(item(report, "oom_score_adj").warning,
              AllOf(HasSubstr("-500"), HasSubstr("CAP_SYS_RESOURCE")));
}

TEST_F(PriorityTest, OneThreadThatIsRefusedHindersNoOther) {
  fake.errors[{"set_nice", 101}] = EPERM;
  const PriorityReport report = priority.apply({.nice = 15});
  EXPECT_EQ(fake.alive[100].nice, 15);
  EXPECT_EQ(fake.alive[102].nice, 15);
  EXPECT_EQ(item(report, "nice").in_force, "15 (2 threads), 0 (1 thread)");
  EXPECT_THAT(item(report, "nice").warning, HasSubstr("in 1 of 3 threads"));
  EXPECT_EQ(fake.count("set_nice"), 3U) << "refused once is refused";
}

TEST_F(PriorityTest, AThreadThatEndsWhileBeingSetIsNoError) {
  fake.after_list = [](FakePrioritySystem& system) { system.alive.erase(101); };
  fake.errors[{"set_nice", 102}] = ESRCH;  // ends after it was read
  fake.on_list = [](FakePrioritySystem& system) {
    if (system.lists == 2) system.alive.erase(102);
  };
  const PriorityReport report = priority.apply({.nice = 15});
  EXPECT_TRUE(report.as_wanted()) << item(report, "nice").warning;
  ASSERT_EQ(report.threads.size(), 1U);
  EXPECT_EQ(report.threads[0].thread, 100);
}

TEST_F(PriorityTest, FindsThreadsThatBeginWhileOthersAreSet) {
  fake.on_list = [](FakePrioritySystem& system) {
    if (system.lists <= 3) system.alive[200 + system.lists] = {};
  };
  const PriorityReport report = priority.apply(kQuiet);
  EXPECT_TRUE(report.as_wanted());
  EXPECT_EQ(report.threads.size(), 6U);
}

TEST_F(PriorityTest, StopsAndSaysSoWhereThreadsComeWithoutEnd) {
  fake.on_list = [](FakePrioritySystem& system) { system.alive[200 + system.lists] = {}; };
  const PriorityReport report = priority.apply({.nice = 15});
  EXPECT_EQ(fake.lists, 6);
  EXPECT_THAT(item(report, "nice").warning, HasSubstr("in 1 of"));
}

TEST_F(PriorityTest, AKernelThatDoesNotKnowTheCallIsAWarningWithoutAPrivilege) {
  fake.errors[{"set_io", 0}] = ENOSYS;
  fake.errors[{"set_policy", 0}] = EINVAL;
  const PriorityReport report = priority.apply(kQuiet);
  EXPECT_EQ(item(report, "io").warning,
            "[priority] io idle: not in force in 3 of 3 threads (Function not implemented)");
  EXPECT_EQ(item(report, "policy").warning,
            "[priority] policy SCHED_IDLE: not in force in 3 of 3 threads (Invalid argument)");
  EXPECT_TRUE(item(report, "nice").as_wanted);
}

TEST_F(PriorityTest, SaysWhenTheSystemTookItAndDidNothing) {
  fake.errors[{"set_nice", 0}] = 0;
  fake.on_list = [](FakePrioritySystem& system) {
    for (auto& [id, thread] : system.alive) thread.nice = 3;
  };
  const PriorityReport report = priority.apply({.nice = 15});
  EXPECT_EQ(item(report, "nice").warning,
            "[priority] nice 15: not in force in 3 of 3 threads: the system took it without an "
            "error");
}

TEST_F(PriorityTest, AnOomScoreThatIsNotTakenIsAWarning) {
  fake.oom_is_deaf = true;
  EXPECT_EQ(item(priority.apply({.oom_score = 300}), "oom_score_adj").warning,
            "[priority] oom_score_adj 300: not in force (the system took it)");
  fake.errors[{"set_oom", 0}] = EINVAL;
  EXPECT_EQ(item(priority.apply({.oom_score = 5000}), "oom_score_adj").warning,
            "[priority] oom_score_adj 5000: not in force (Invalid argument)");
  fake.errors = {{{"oom", 0}, ENOENT}};
  const PriorityReport report = priority.apply({.oom_score = 300});
  EXPECT_EQ(item(report, "oom_score_adj").in_force, "unknown");
  EXPECT_FALSE(report.as_wanted());
}

TEST_F(PriorityTest, WhatCannotBeReadBackIsUnknownAndSetOnce) {
  fake.errors[{"io", 0}] = ENOSYS;
  const PriorityReport report = priority.apply(kQuiet);
  EXPECT_EQ(fake.count("set_io"), 3U);
  EXPECT_FALSE(item(report, "io").as_wanted);
  EXPECT_EQ(item(report, "io").in_force, "unknown");
  EXPECT_EQ(item(report, "io").warning,
            "[priority] io idle: not known to be in force in 3 of 3 threads: set, and cannot be "
            "read back (Function not implemented)");
}

TEST_F(PriorityTest, OneRefusalOfTimerSlackSparesTheOtherThreads) {
  for (const int other : {101, 102}) {
    fake.errors[{"slack", other}] = EPERM;
    fake.errors[{"set_slack", other}] = EPERM;
  }
  fake.calls.clear();
  const PriorityReport report = priority.apply({.timer_slack_ns = 1'000'000});
  EXPECT_EQ(fake.alive[100].slack, 1'000'000U);
  EXPECT_EQ(fake.count("set_slack"), 2U) << "own, and one other";
  EXPECT_EQ(fake.count("slack"), 1U) << "own";
  EXPECT_THAT(item(report, "timer_slack_ns").warning,
              AllOf(HasSubstr("in 2 of 3 threads"), HasSubstr("CAP_SYS_NICE")));
}

TEST_F(PriorityTest, WithoutAListOfThreadsTheCallingOneIsSet) {
  fake.errors[{"threads", 0}] = EMFILE;
  fake.own = 101;
  const PriorityReport report = priority.apply({.nice = 15});
  EXPECT_EQ(fake.alive[101].nice, 15);
  EXPECT_EQ(fake.alive[100].nice, 0);
  EXPECT_FALSE(report.as_wanted());
  EXPECT_EQ(report.warning,
            "[priority] expected the list of this process's threads: Too many open files; this is "
            "of the calling thread only");
}

TEST_F(PriorityTest, ALevelMeansNothingWhereTheClassHasNone) {
  for (auto& [id, thread] : fake.alive) thread.io = {IoClass::kIdle, 0};
  EXPECT_TRUE(priority.apply({.io = IoPriority{IoClass::kIdle, 7}}).as_wanted());
  for (auto& [id, thread] : fake.alive) thread.io = {IoClass::kIdle, 0};
  fake.calls.clear();
  EXPECT_TRUE(priority.reapply().as_wanted());
  EXPECT_EQ(fake.count("set_io"), 0U);
  EXPECT_TRUE(priority.apply({.io = IoPriority{IoClass::kBestEffort, 4}}).as_wanted());
  EXPECT_TRUE(priority.apply({.io = IoPriority{IoClass::kBestEffort, 5}}).as_wanted());
  EXPECT_EQ(fake.alive[102].io.level, 5);
}

TEST(ProcessPriority, RestoresWhatItFound) {
  auto owned = std::make_unique<FakePrioritySystem>();
  FakePrioritySystem& fake = *owned;
  for (auto& [id, thread] : fake.alive) {
    thread = {.nice = 5,
              .io = {IoClass::kBestEffort, 6},
              .policy = SchedulingPolicy::kBatch,
              .slack = 70'000};
  }
  fake.oom = 100;
  ProcessPriority priority(std::move(owned));
  priority.apply(kQuiet);
  EXPECT_TRUE(priority.restore().as_wanted());
  for (const auto& [id, thread] : fake.alive) {
    EXPECT_EQ(thread.nice, 5);
    EXPECT_EQ(thread.io, (IoPriority{IoClass::kBestEffort, 6}));
    EXPECT_EQ(thread.policy, SchedulingPolicy::kBatch);
    EXPECT_EQ(thread.slack, 70'000U);
  }
  EXPECT_EQ(fake.oom, 100);
}

TEST_F(PriorityTest, WhatIsWantedNoLongerGoesBackToWhatWasFound) {
  priority.apply(kQuiet);
  const PriorityReport report = priority.apply({.nice = 10, .policy = SchedulingPolicy::kOther});
  EXPECT_TRUE(report.as_wanted());
  EXPECT_EQ(item(report, "timer_slack_ns").wanted, "50000");
  for (const auto& [id, thread] : fake.alive) {
    EXPECT_EQ(thread.nice, 10);
    EXPECT_EQ(thread.io, IoPriority{});
    EXPECT_EQ(thread.slack, 50'000U);
  }
  EXPECT_EQ(fake.oom, 0);
}

TEST_F(PriorityTest, WhatWasNeverChangedIsNotRestored) {
  fake.alive[102].nice = 7;  // its own affair
  fake.calls.clear();
  EXPECT_TRUE(priority.restore().as_wanted());
  for (const auto& call : fake.calls) EXPECT_FALSE(call.starts_with("set")) << call;
  EXPECT_EQ(fake.alive[102].nice, 7);
}

TEST(PriorityOf, IsThePolicysNiceValueAndIoClass) {
  EXPECT_EQ(
      priority_of(ResourcePolicy::of(ResourceMode::kBalanced)),
      (PrioritySettings{
          .nice = 10, .io = IoPriority{IoClass::kIdle, 7}, .policy = SchedulingPolicy::kOther}));
  EXPECT_EQ(priority_of(ResourcePolicy::of(ResourceMode::kAggressive)),
            (PrioritySettings{.nice = 0,
                              .io = IoPriority{IoClass::kBestEffort, 4},
                              .policy = SchedulingPolicy::kOther}));
}

TEST(PriorityOf, ConservativeGivesWayInEveryWay) {
  EXPECT_EQ(priority_of(ResourcePolicy::of(ResourceMode::kConservative)), kQuiet);
}

TEST_F(PriorityTest, ReadsAllAndSetsNothing) {
  const PriorityReport report = priority.read();
  for (const auto& call : fake.calls) EXPECT_FALSE(call.starts_with("set")) << call;
  for (const char* name : {"nice", "io", "policy", "timer_slack_ns", "oom_score_adj"}) {
    EXPECT_THAT(item(report, name).in_force, ::testing::Not(IsEmpty())) << name;
  }
  EXPECT_EQ(item(report, "timer_slack_ns").in_force, "50000");
}

TEST(PriorityTexts, NameWhatTheKernelNumbers) {
  EXPECT_EQ(text_of(IoPriority{}), "none");
  EXPECT_EQ(text_of(IoPriority{IoClass::kRealTime, 3}), "real time 3");
  EXPECT_EQ(text_of(static_cast<SchedulingPolicy>(1)), "SCHED_FIFO");
  EXPECT_EQ(text_of(static_cast<SchedulingPolicy>(2)), "SCHED_RR");
  EXPECT_EQ(text_of(static_cast<SchedulingPolicy>(6)), "SCHED_DEADLINE");
  EXPECT_EQ(text_of(static_cast<SchedulingPolicy>(77)), "policy 77");
}

TEST(PrioritySystem, OtherThanLinuxIsUnsupportedByName) {
  const auto system = no_priority_system("Plan 9");
  ASSERT_FALSE(system.has_value());
  EXPECT_EQ(system.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(system.error().message, AllOf(HasSubstr("Linux only"), HasSubstr("Plan 9")));
}

}  // namespace
}  // namespace gogrid

#include "resource/host_cpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using testing::FakeRoot;
using ::testing::HasSubstr;
using testing::process_stat;

constexpr std::uint64_t kHz = 100;

TEST(MachineCpu, IsTheFirstLineOfProcStat) {
  const auto cpu = parse_machine_cpu(
      "cpu  3660346 1528390 506433 4282363 11671 7 3123 4708 20 30\ncpu0 1 2 3 4\n");
  ASSERT_TRUE(cpu.has_value()) << cpu.error();
  EXPECT_EQ(*cpu, (MachineCpu{.user = 3660346,
                              .nice = 1528390,
                              .system = 506433,
                              .idle = 4282363,
                              .io_wait = 11671,
                              .interrupts = 7,
                              .soft_interrupts = 3123,
                              .steal = 4708}));
}

TEST(MachineCpu, HasFourFieldsInTheOldestKernelsAndMayHaveMoreInLaterOnes) {
  EXPECT_EQ(parse_machine_cpu("cpu 1 2 3 4")->idle, 4U);
  EXPECT_EQ(parse_machine_cpu("cpu 1 2 3 4")->steal, 0U);
  EXPECT_EQ(parse_machine_cpu("cpu 1 2 3 4 5 6 7 8 9 10 what else")->steal, 8U);
}

TEST(MachineCpu, IsUnknownWhereTheLineIsMalformed) {
  for (const char* bad :
       {"", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "intr 1 2 3 4", "cpu 1 2 x 4",
        "cpu -1 2 3 4", "cpu 1 2 3 4.5", "cpu 1 2 3 99999999999999999999",
        "cpu 1 2 3 1152921504606846977", "\xff\xfe\x01", "\ncpu 1 2 3 4"}) {
    const auto cpu = parse_machine_cpu(bad);
    ASSERT_FALSE(cpu.has_value()) << bad;
    EXPECT_THAT(cpu.error(), HasSubstr("[load] CPU time: expected")) << bad;
  }
}

TEST(ProcessCpu, IsUserAndSystemTimeOfItselfAndItsChildren) {
  EXPECT_EQ(parse_process_cpu(process_stat(42, "gogrid", 100, 20, 3, 4)), 127U);
}

TEST(ProcessCpu, MayHaveAnythingInTheNameOfTheProcess) {
  EXPECT_EQ(parse_process_cpu(process_stat(42, "a) S 1 (b ) 9 9 9", 100, 20)), 120U);
  EXPECT_EQ(parse_process_cpu(process_stat(42, "\n", 100, 20)), 120U);
}

TEST(ProcessCpu, IsUnknownWhereTheLineIsMalformed) {
  for (const char* bad :
       {"", "42 gogrid S 1 1 1", "42 (gogrid) S 1 1 1 0", "42 (gogrid)",
        "42 (g) S 1 1 1 0 -1 4 1 2 3 4 x 1 1 1", ")", "42 (g) S 1 1 1 0 -1 4 1 2 3 4 1 1 1 -1"}) {
    const auto ticks = parse_process_cpu(bad);
    ASSERT_FALSE(ticks.has_value()) << bad;
    EXPECT_THAT(ticks.error(), HasSubstr("own CPU time: expected")) << bad;
  }
}

TEST(GroupCpu, IsTheUsageInMicroseconds) {
  EXPECT_EQ(parse_group_cpu("usage_usec 1234567\nuser_usec 1000000\n"), 1'234'567U);
  EXPECT_EQ(parse_group_cpu("core_sched 1\nusage_usec 5"), 5U);
  for (const char* bad : {"", "usage_usec", "usage_usec \n", "usage_usec x", "usage_usec -5",
                          "usage_usec 5 6", "user_usec 5"}) {
    EXPECT_FALSE(parse_group_cpu(bad).has_value()) << bad;
  }
}

struct OwnCpuTest : ::testing::Test {
  void SetUp() override {
    root.put("proc/self/stat", process_stat(42, "gogrid", 100, 0));
    root.put("proc/42/stat", process_stat(42, "gogrid", 100, 0));
    root.put("proc/42/task/42/children", "");
    root.put("proc/42/task/43/children", "");
  }
  void put_group(const std::string& members, const std::string& below = "nr_descendants 0\n") {
    root.put("proc/self/cgroup", "1:name=systemd:/x\n0::/user.slice/gogrid.service\n");
    const std::string group = "sys/fs/cgroup/user.slice/gogrid.service/";
    root.put(group + "cgroup.procs", members);
    root.put(group + "cgroup.stat", below);
    root.put(group + "cpu.stat", "usage_usec 777\n");
  }
  FakeRoot root;
};

TEST_F(OwnCpuTest, IsOfTheControlGroupWhenNobodyElseIsInIt) {
  put_group("42\n");
  EXPECT_EQ(read_own_cpu(root.path(), kHz), (OwnCpu{OwnCpu::Source::kControlGroup, 777}));
}

TEST_F(OwnCpuTest, IsOfTheProcessWhereOthersAreInTheGroup) {
  const OwnCpu by_process{OwnCpu::Source::kProcesses, 1'000'000};
  for (const char* members : {"42\n99\n", "0\n42\n", "", "what"}) {
    put_group(members);
    EXPECT_EQ(read_own_cpu(root.path(), kHz), by_process) << members;
  }
  put_group("42\n", "nr_descendants 1\n");
  EXPECT_EQ(read_own_cpu(root.path(), kHz), by_process) << "somebody may be below";
  put_group("42\n", "");
  EXPECT_EQ(read_own_cpu(root.path(), kHz), by_process);
}

TEST_F(OwnCpuTest, IsOfTheProcessWhereThereIsNoGroupThatItCouldRead) {
  const OwnCpu by_process{OwnCpu::Source::kProcesses, 1'000'000};
  EXPECT_EQ(read_own_cpu(root.path(), kHz), by_process);
  put_group("42\n");
  root.put("sys/fs/cgroup/user.slice/gogrid.service/cpu.stat", "nonsense");
  EXPECT_EQ(read_own_cpu(root.path(), kHz), by_process);
  root.put("proc/self/cgroup", "0::/../../elsewhere\n");
  EXPECT_EQ(read_own_cpu(root.path(), kHz), by_process);
}

TEST_F(OwnCpuTest, CountsTheWholeTreeOfProcesses) {
  root.put("proc/42/task/43/children", "50 51 ");
  root.put("proc/50/stat", process_stat(50, "child", 20, 0));
  root.put("proc/50/task/50/children", "60 ");
  root.put("proc/60/stat", process_stat(60, "grandchild", 0, 3));
  // 51 has ended meanwhile: no files.
  EXPECT_EQ(read_own_cpu(root.path(), kHz), (OwnCpu{OwnCpu::Source::kProcesses, 1'230'000}));
  put_group("42\n50\n60\n");
  EXPECT_EQ(read_own_cpu(root.path(), kHz)->microseconds, 777U);
}

TEST_F(OwnCpuTest, EndsOnATreeThatGoesRoundAndOnOneWithoutEnd) {
  std::string many;
  for (int id = 1000; id < 1200; ++id) {
    root.put("proc/" + std::to_string(id) + "/stat", process_stat(id, "x", 1, 0));
    many += std::to_string(id) + " ";
  }
  root.put("proc/42/task/42/children", "42 " + many + "42");
  EXPECT_EQ(read_own_cpu(root.path(), kHz)->microseconds, 1'000'000U + 63 * 10'000U);
}

TEST_F(OwnCpuTest, IsUnknownWithoutTheProcesssOwnFile) {
  root.remove("proc/42/stat");
  EXPECT_FALSE(read_own_cpu(root.path(), kHz).has_value());
  root.put("proc/self/stat", "what (gogrid)");
  EXPECT_THAT(read_own_cpu(root.path(), kHz).error(), HasSubstr("expected a number of a process"));
  root.remove("proc");
  EXPECT_THAT(read_own_cpu(root.path(), kHz).error(), HasSubstr("cannot open"));
}

// Two looks at a machine of four cores, 1 s apart: 400 ticks.
struct CpuBetween : ::testing::Test {
  Reading<CpuLoad> load() const { return cpu_between(before, after, own_before, own_after, kHz); }
  MachineCpu before{.user = 1000,
                    .nice = 500,
                    .system = 300,
                    .idle = 9000,
                    .io_wait = 70,
                    .interrupts = 10,
                    .soft_interrupts = 20,
                    .steal = 5};
  MachineCpu after = before;
  OwnCpu own_before{OwnCpu::Source::kProcesses, 5'000'000};
  OwnCpu own_after = own_before;
};

TEST_F(CpuBetween, OthersAreBusyTimeLessOurOwn) {
  after.user += 200;
  after.system += 100;
  after.idle += 100;
  own_after.microseconds += 2'000'000;  // two of the four cores
  EXPECT_EQ(load()->others, *Share::of(0.25));
  EXPECT_EQ(load()->own, *Share::of(0.5));
}

TEST_F(CpuBetween, InterruptsAndNicedProgramsAreBusyAndWaitingForADiskIsNot) {
  after.nice += 40;
  after.interrupts += 30;
  after.soft_interrupts += 30;
  after.io_wait += 200;
  after.idle += 100;
  EXPECT_EQ(load()->others, *Share::of(0.25));
}

TEST_F(CpuBetween, StolenTimeIsNoCapacity) {
  after.user += 100;
  after.steal += 300;
  EXPECT_EQ(load()->others, *Share::of(1.0)) << "all that this machine was given is used";
}

TEST_F(CpuBetween, OwnTimeAboveBusyTimeLeavesNothingForOthers) {
  after.user += 100;
  after.idle += 300;
  own_after.microseconds += 1'050'000;
  EXPECT_EQ(load()->others, Share());
  own_after.microseconds += 1'000'000'000;
  EXPECT_EQ(load()->own.millionths(), Share::kWhole);
}

TEST_F(CpuBetween, IdleTimeThatRunsBackwardsStandsStill) {
  after.user += 100;
  after.idle -= 50;
  after.io_wait -= 7;
  EXPECT_EQ(load()->others.millionths(), Share::kWhole);
}

TEST_F(CpuBetween, OtherCountersThatRunBackwardsMakeItUnknown) {
  after.idle += 400;
  for (const auto field : {&MachineCpu::user, &MachineCpu::nice, &MachineCpu::system,
                           &MachineCpu::interrupts, &MachineCpu::soft_interrupts}) {
    const std::uint64_t was = after.*field;
    after.*field -= 1;
    EXPECT_THAT(load().error(), HasSubstr("ran backwards"));
    after.*field = was;
  }
  EXPECT_TRUE(load().has_value());
  own_after.microseconds -= 1;
  EXPECT_THAT(load().error(), HasSubstr("ran backwards"));
}

TEST_F(CpuBetween, CountersFromDifferentSourcesAreNotCompared) {
  after.idle += 400;
  own_after.source = OwnCpu::Source::kControlGroup;
  EXPECT_THAT(load().error(), HasSubstr("control group"));
}

TEST_F(CpuBetween, LooksTooCloseTogetherTellNothing) {
  EXPECT_THAT(load().error(), HasSubstr("at least 10 ticks between two looks: 0"));
  after.idle += 9;
  EXPECT_FALSE(load().has_value());
  after.user += 1;
  EXPECT_EQ(load()->others, *Share::of(0.1));
}

TEST_F(CpuBetween, TheLargestFiguresDoNotOverflow) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 60;
  before = {};
  after = {.user = kMost,
           .nice = kMost,
           .system = kMost,
           .idle = kMost,
           .io_wait = kMost,
           .interrupts = kMost,
           .soft_interrupts = kMost,
           .steal = kMost};
  EXPECT_EQ(load()->others.millionths(), 714'285U);  // 5 of 7
  own_before.microseconds = 0;
  own_after.microseconds = kMost;
  EXPECT_EQ(load()->own.millionths(), 14U);  // a ten-thousandth of a seventh
}

TEST(HostCpu, OfThisMachineIsReadForReal) {
  const auto machine = read_machine_cpu("/");
  ASSERT_TRUE(machine.has_value()) << machine.error();
  EXPECT_GT(machine->user + machine->nice + machine->system + machine->idle, 0U);
  const auto own = read_own_cpu("/", ticks_per_second());
  ASSERT_TRUE(own.has_value()) << own.error();
}

}  // namespace
}  // namespace gogrid

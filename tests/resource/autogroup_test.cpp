#include "resource/autogroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using testing::FakeRoot;
using ::testing::HasSubstr;

// A desktop: autogroups are on, and systemd's groups have no CPU controller.
struct AutogroupTest : ::testing::Test {
  void SetUp() override {
    root.put("proc/sys/kernel/sched_autogroup_enabled", "1\n");
    root.put("proc/self/autogroup", "/autogroup-124 nice 0\n");
    root.put("proc/self/cgroup", "0::/user.slice/session-2.scope\n");
    root.put("sys/fs/cgroup/user.slice/session-2.scope/cgroup.procs", "42\n");
  }
  FakeRoot root;
};

TEST_F(AutogroupTest, OnADesktopNiceCountsInTheSessionOnly) {
  EXPECT_EQ(nice_counts_in_session_only(root.path()), true);
}

TEST_F(AutogroupTest, NiceCountsEverywhereWhereTheyAreOffOrAbsent) {
  root.put("proc/sys/kernel/sched_autogroup_enabled", "0\n");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), false);
  root.remove("proc/sys/kernel/sched_autogroup_enabled");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), false);
}

TEST_F(AutogroupTest, NiceCountsEverywhereForAProcessInNone) {
  root.put("proc/self/autogroup", "");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), false);
}

TEST_F(AutogroupTest, AGroupWithAWeightCountsByThatAndSoDoesWhatIsBelow) {
  root.put("sys/fs/cgroup/user.slice/cpu.weight", "100\n");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), false);
}

TEST_F(AutogroupTest, AContainersTopmostGroupHasAWeightAsWell) {
  root.put("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), true);
  root.put("proc/self/cgroup", "0::/../../elsewhere\n");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), true);
  root.put("sys/fs/cgroup/cpu.weight", "100\n");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), false);
}

TEST_F(AutogroupTest, InVersionOneTheCpusOwnTreeTells) {
  for (const char* other : {"2:cpuacct:/x\n", "2:cpuset:/x\n", "1:cpu:/\n", "1:cpu,cpuacct:/\n"}) {
    root.put("proc/self/cgroup", other);
    EXPECT_EQ(nice_counts_in_session_only(root.path()), true) << other;
  }
  for (const char* divided : {"1:cpu:/x\n", "9:pids:/\n4:cpu,cpuacct:/x\n", "4:cpuacct,cpu:/x\n"}) {
    root.put("proc/self/cgroup", divided);
    EXPECT_EQ(nice_counts_in_session_only(root.path()), false) << divided;
  }
}

TEST_F(AutogroupTest, MalformedGroupsDivideNothing) {
  for (const char* bad : {"", "\n", "cpu", "1:cpu", "::", ":", "\xff\xfe\n\n0::"}) {
    root.put("proc/self/cgroup", bad);
    EXPECT_EQ(nice_counts_in_session_only(root.path()), true) << bad;
  }
  root.remove("proc/self/cgroup");
  EXPECT_EQ(nice_counts_in_session_only(root.path()), true);
}

TEST_F(AutogroupTest, IsUnknownWhereTheProcesssOwnCannotBeRead) {
  root.remove("proc/self/autogroup");
  EXPECT_THAT(nice_counts_in_session_only(root.path()).error(), HasSubstr("[load] autogroup"));
}

}  // namespace
}  // namespace gogrid

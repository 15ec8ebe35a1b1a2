#include "device/cpu_info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <fstream>

#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using gogrid::testing::TemporaryFolder;
using ::testing::ElementsAre;

// A machine as its /proc and /sys describe it.
class Machine {
 public:
  void put(const std::string& path, const std::string& text) {
    const auto target = folder_ / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target) << text;
  }
  void has_memory() {
    put("proc/meminfo", "MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:    9000 kB\n");
  }
  MemoryReading memory() const { return read_host_memory(folder_.path()); }

 private:
  TemporaryFolder folder_;
};

TEST(UsableCores, FollowTheAffinityOfTheProcess) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  const int first = usable_cores().front();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(first), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_THAT(usable_cores(), ElementsAre(first));
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(HostMemory, IsTheMachinesWithoutAGroup) {
  Machine machine;
  machine.has_memory();
  EXPECT_EQ(machine.memory().total, 16000 * kKiB);
  EXPECT_EQ(machine.memory().free, 9000 * kKiB);
}

TEST(HostMemory, IsUnknownRatherThanZeroWhenNothingTells) {
  const Machine machine;
  EXPECT_EQ(machine.memory().total, std::nullopt);
  EXPECT_EQ(machine.memory().free, std::nullopt);
}

TEST(HostMemory, IsNarrowedByAnyLevelOfTheGroup) {
  Machine machine;
  machine.has_memory();
  machine.put("proc/self/cgroup", "0::/a/b\n");
  machine.put("sys/fs/cgroup/a/b/memory.max", "max\n");
  machine.put("sys/fs/cgroup/a/memory.max", "4096000\n");
  machine.put("sys/fs/cgroup/a/memory.current", "3000000\n");
  machine.put("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 1000000\n");
  EXPECT_EQ(machine.memory().total, 4096000U);
  EXPECT_EQ(machine.memory().free, 2096000U);
}

TEST(HostMemory, OfAGroupThatIsFullIsNothing) {
  Machine machine;
  machine.has_memory();
  machine.put("proc/self/cgroup", "0::/\n");
  machine.put("sys/fs/cgroup/memory.max", "4096000\n");
  machine.put("sys/fs/cgroup/memory.current", "5000000\n");
  EXPECT_EQ(machine.memory().free, 0U);
}

TEST(HostMemory, ReadsTheFirstVersionOfGroups) {
  Machine machine;
  machine.has_memory();
  machine.put("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n");
  // Inside the container the group's own folder is the mount's top.
  machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "8000000\n");
  machine.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000000\n");
  EXPECT_EQ(machine.memory().total, 8000000U);
  EXPECT_EQ(machine.memory().free, 6000000U);
}

TEST(HostMemory, IgnoresTheFirstVersionsWordForNoLimit) {
  Machine machine;
  machine.has_memory();
  machine.put("proc/self/cgroup", "4:memory:/\n");
  machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(machine.memory().total, 16000 * kKiB);
}

TEST(HostMemory, SurvivesAnUnreadableGroupFile) {
  Machine machine;
  machine.has_memory();
  machine.put("proc/self/cgroup", "\n:\n::\nx\n0::/../..\n");
  EXPECT_EQ(machine.memory().free, 9000 * kKiB);
}

TEST(HostMemory, OfThisMachineIsKnown) {
  const MemoryReading reading = read_host_memory();
  ASSERT_TRUE(reading.total);
  ASSERT_TRUE(reading.free);
  EXPECT_GT(*reading.total, 64 * kMiB);
  EXPECT_LE(*reading.free, *reading.total);
}

}  // namespace
}  // namespace gogrid

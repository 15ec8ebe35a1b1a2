#include "resource/host_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using testing::FakeRoot;
using ::testing::HasSubstr;
using testing::process_stat;

struct HostLoadTest : ::testing::Test {
  void SetUp() override {
    put_cpu(1000, 1000, 100);
    root.put("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 300 kB\n");
    root.put("proc/self/status", "RssAnon: 150 kB\nRssFile: 90 kB\nRssShmem: 50 kB\n");
  }
  // In ticks of this machine.
  void put_cpu(int busy, int idle, int own) {
    root.put("proc/stat",
             "cpu " + std::to_string(busy) + " 0 0 " + std::to_string(idle) + " 0 0 0 0 0 0\n");
    root.put("proc/self/stat", process_stat(42, "gogrid", own, 0));
    root.put("proc/42/stat", process_stat(42, "gogrid", own, 0));
  }
  FakeRoot root;
  HostLoadReader reader{root.path()};
};

TEST_F(HostLoadTest, KnowsTheCpuFromTheSecondLookOn) {
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("first look"));
  put_cpu(1300, 1100, 200);
  const HostLoad load = reader.read();
  ASSERT_TRUE(load.cpu.has_value()) << load.cpu.error();
  EXPECT_EQ(load.cpu->others, *Share::of(0.5));
  EXPECT_EQ(load.cpu->own, *Share::of(0.25));
}

TEST_F(HostLoadTest, CountsMemoryThatIsNotOurs) {
  EXPECT_EQ(reader.read().memory_of_others, *Share::of(0.5));
}

TEST_F(HostLoadTest, NamesWhatItDoesNotKnowAndTellsTheRest) {
  root.put("proc/meminfo", "rubbish");
  root.put("proc/pressure/memory", "some avg10=0.10 avg60=0.00 avg300=0.00 total=5\n");
  const HostLoad load = reader.read();
  EXPECT_THAT(load.memory_of_others.error(), HasSubstr("MemTotal"));
  EXPECT_THAT(load.pressure[0].error(), HasSubstr("pressure/cpu"));
  EXPECT_EQ(load.pressure[2]->some.microseconds, 5U);
  EXPECT_FALSE(load.power.has_value());
  EXPECT_FALSE(load.heat.has_value());
}

TEST_F(HostLoadTest, IsKnownAgainAfterALookThatFailed) {
  reader.read();
  root.put("proc/stat", "rubbish");
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("rubbish"));
  put_cpu(1300, 1100, 200);
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("rubbish")) << "of the look before";
  put_cpu(1400, 1400, 200);
  EXPECT_EQ(reader.read().cpu->others, *Share::of(0.25));
}

TEST_F(HostLoadTest, IsKnownAgainAfterCountersBeganAnew) {
  put_cpu(5000, 5000, 900);
  reader.read();
  put_cpu(100, 100, 10);
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("backwards"));
  put_cpu(200, 200, 10);
  EXPECT_EQ(reader.read().cpu->others, *Share::of(0.5));
}

TEST(HostLoad, OfThisMachineIsReadForReal) {
  HostLoadReader reader;
  const HostLoad load = reader.read();
  EXPECT_TRUE(load.memory_of_others.has_value()) << load.memory_of_others.error();
}

}  // namespace
}  // namespace gogrid

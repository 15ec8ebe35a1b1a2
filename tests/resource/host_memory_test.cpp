#include "resource/host_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using testing::FakeRoot;
using ::testing::HasSubstr;

TEST(MachineMemory, IsWhatMeminfoSays) {
  EXPECT_EQ(parse_meminfo("MemTotal:       16318440 kB\nMemFree:  1 kB\nMemAvailable:  400 kB\n"),
            (MachineMemory{16'318'440 * kKiB, 400 * kKiB}));
}

TEST(MachineMemory, HasNoMoreAvailableThanThereIs) {
  EXPECT_EQ(parse_meminfo("MemTotal: 10 kB\nMemAvailable: 11 kB\n")->available, 10 * kKiB);
}

TEST(MachineMemory, IsUnknownWhereMeminfoIsMalformed) {
  for (const char* bad :
       {"", "MemTotal: 10 kB\n", "MemAvailable: 10 kB\n", "MemTotal: 10\nMemAvailable: 1\n",
        "MemTotal: 10 MB\nMemAvailable: 1 MB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n",
        "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: -5 kB\nMemAvailable: 1 kB\n",
        "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n", "MemTotal: kB\nMemAvailable: kB",
        "xMemTotal: 10 kB\nMemAvailable: 1 kB\n"}) {
    const auto memory = parse_meminfo(bad);
    ASSERT_FALSE(memory.has_value()) << bad;
    EXPECT_THAT(memory.error(), HasSubstr("[load] memory: expected MemTotal")) << bad;
  }
}

TEST(OwnMemory, IsAnonymousAndSharedButNotMappedFromFiles) {
  EXPECT_EQ(parse_own_memory("Name:\tRssAnon: 9 kB\nVmRSS:\t  900 kB\nRssAnon:\t  300 kB\n"
                             "RssFile:\t  560 kB\nRssShmem:\t   40 kB\n"),
            340 * kKiB);
}

TEST(OwnMemory, IsUnknownWhereStatusIsMalformed) {
  for (const char* bad :
       {"", "VmRSS: 10 kB\n", "RssAnon: 1 kB\n", "RssAnon: 1 kB\nRssShmem: ? kB\n",
        "RssAnon: 18014398509481983 kB\nRssShmem: 1 kB\n"}) {
    EXPECT_FALSE(parse_own_memory(bad).has_value()) << bad;
  }
}

TEST(MemoryOfOthers, IsWhatIsUsedLessOurOwn) {
  EXPECT_EQ(memory_of_others({.total = 1000, .available = 300}, 200), *Share::of(0.5));
  EXPECT_EQ(memory_of_others({.total = 1000, .available = 300}, 700), Share());
  EXPECT_EQ(memory_of_others({.total = 1000, .available = 300}, 701), Share());
  EXPECT_EQ(memory_of_others({.total = 1000, .available = 0}, 0).millionths(), Share::kWhole);
  EXPECT_EQ(memory_of_others({}, 0), Share());
}

TEST(MemoryOfOthers, IsExactAtTheLargestSizes) {
  constexpr Bytes kMost = std::numeric_limits<Bytes>::max();
  EXPECT_EQ(memory_of_others({.total = kMost, .available = 0}, 0).millionths(), Share::kWhole);
  EXPECT_EQ(memory_of_others({.total = kMost, .available = 0}, 1).millionths(), 999'999U);
}

TEST(PressureStall, IsTheAverageOfTenSecondsAndTheTotal) {
  const auto pressure = parse_pressure(
      "some avg10=11.90 avg60=5.52 avg300=3.19 total=14620120068\n"
      "full avg10=0.05 avg60=0.00 avg300=0.00 total=7\n");
  ASSERT_TRUE(pressure.has_value()) << pressure.error();
  EXPECT_EQ(pressure->some, (Stall{Share::of_millionths(119'000), 14'620'120'068}));
  EXPECT_EQ(pressure->full, (Stall{Share::of_millionths(500), 7}));
}

TEST(PressureStall, HasNoFullLineForTheCpuOfOlderKernels) {
  const auto pressure = parse_pressure("some avg10=100.00 avg60=1.00 avg300=1.00 total=1\n");
  ASSERT_TRUE(pressure.has_value());
  EXPECT_EQ(pressure->some.avg10.millionths(), Share::kWhole);
  EXPECT_EQ(pressure->full, Stall{});
}

TEST(PressureStall, IsUnknownWhereItIsMalformed) {
  for (const char* bad :
       {"", "some", "some avg10=1.00", "some total=1", "some avg10=1 total=1",
        "some avg10=1.000 total=1", "some avg10=101.00 total=1", "some avg10=-1.00 total=1",
        "some avg10=nan total=1", "some avg10=1.00 total=x", "full avg10=1.00 total=1",
        "some avg10=1.00 total=1\nfull avg10=x total=1"}) {
    const auto pressure = parse_pressure(bad);
    ASSERT_FALSE(pressure.has_value()) << bad;
    EXPECT_THAT(pressure.error(), HasSubstr("[load] pressure: expected")) << bad;
  }
}

TEST(PressureStall, IsReadByResourceAndUnknownWhereTheKernelHasNone) {
  const FakeRoot root;
  root.put("proc/pressure/io", "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\n");
  EXPECT_EQ(read_pressure(root.path(), PressureOf::kIo)->some.microseconds, 9U);
  EXPECT_THAT(read_pressure(root.path(), PressureOf::kCpu).error(), HasSubstr("pressure/cpu"));
  EXPECT_FALSE(read_pressure(root.path(), PressureOf::kMemory).has_value());
}

TEST(HostMemory, OfThisMachineIsReadForReal) {
  const auto machine = read_machine_memory("/");
  ASSERT_TRUE(machine.has_value()) << machine.error();
  const auto own = read_own_memory("/");
  ASSERT_TRUE(own.has_value()) << own.error();
  EXPECT_GT(*own, 64 * kKiB);
  EXPECT_LT(*own, machine->total);
}

TEST(HostText, IsReadUpToItsLimitAndOnlyFromRegularFiles) {
  const FakeRoot root;
  root.put("long", std::string(10'000, 'x'));
  EXPECT_EQ(read_text(root.path() / "long", 100), std::string(100, 'x'));
  EXPECT_EQ(read_text(root.path() / "long", 20'000)->size(), 10'000U);
  EXPECT_FALSE(read_text(root.path(), 100).has_value());
  EXPECT_FALSE(read_text(root.path() / "absent", 100).has_value());
}

TEST(HostText, QuotesHostileContentOnOneShortLine) {
  EXPECT_EQ(excerpt("a\x1b[31m\tb\nsecond"), "\"a?[31m?b\"");
  EXPECT_EQ(excerpt(std::string(100, 'x')), "\"" + std::string(40, 'x') + "…\"");
  EXPECT_EQ(excerpt(""), "\"\"");
}

TEST(ProcessMemory, IsWhatStatusSaysOfEachKind) {
  EXPECT_EQ(parse_process_memory("RssAnon:\t 300 kB\nRssFile:\t 20 kB\nRssShmem:\t 1 kB\n"),
            (ProcessMemory{300 * kKiB, 20 * kKiB, kKiB}));
  for (const char* text :
       {"", "RssAnon: 1 kB\nRssShmem: 1 kB\n", "RssAnon: 1 kB\nRssFile: ? kB\nRssShmem: 1 kB\n",
        "RssAnon: 1 kB\nRssFile: 18446744073709551615 kB\nRssShmem: 1 kB\n"}) {
    EXPECT_FALSE(parse_process_memory(text)) << text;
  }
  const auto own = read_process_memory("/");
  ASSERT_TRUE(own) << own.error();
  EXPECT_GT(own->anonymous, 0U);
}

}  // namespace
}  // namespace gogrid

#include "device/drm_usage.h"

#include <gtest/gtest.h>

#include <limits>

namespace gogrid {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
const std::string kGpu = "0000:03:00.0";

TimePoint at_ms(std::int64_t milliseconds) {
  return TimePoint(std::chrono::milliseconds(milliseconds));
}

DrmUser user(std::uint64_t id, bool own, std::map<std::string, DrmEngine> engines) {
  DrmUser result;
  result.client = {.driver = "amdgpu",
                   .pci_address = kGpu,
                   .id = id,
                   .engines = std::move(engines),
                   .resident = {}};
  result.own = own;
  return result;
}

DrmEngine busy(std::uint64_t milliseconds) {
  return {.busy_ns = milliseconds * 1'000'000, .cycles = {}, .total_cycles = {}, .capacity = 1};
}

DrmEngine cycles(std::uint64_t worked, std::uint64_t total, std::uint64_t capacity = 1) {
  return {.busy_ns = {}, .cycles = worked, .total_cycles = total, .capacity = capacity};
}

DrmScan scan_of(std::vector<DrmUser> users) {
  DrmScan scan;
  scan.users = std::move(users);
  return scan;
}

TEST(DrmUsage, IsUnknownUntilThereAreTwoLooks) {
  DrmUsage usage;
  EXPECT_FALSE(usage.use_of(kGpu));
  usage.look(scan_of({}), at_ms(0));
  EXPECT_FALSE(usage.use_of(kGpu));
  usage.look(scan_of({}), at_ms(250));
  ASSERT_TRUE(usage.use_of(kGpu));
  EXPECT_EQ(usage.use_of(kGpu)->everybody, Share());
}

TEST(DrmUsage, TellsOwnTimeFromOthersOnOneEngine) {
  DrmUsage usage;
  usage.look(scan_of({user(1, true, {{"gfx", busy(1000)}}), user(2, false, {{"gfx", busy(5)}})}),
             at_ms(0));
  usage.look(scan_of({user(1, true, {{"gfx", busy(1300)}}), user(2, false, {{"gfx", busy(105)}})}),
             at_ms(1000));
  EXPECT_EQ(usage.use_of(kGpu)->own, Share::of_millionths(300'000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share::of_millionths(100'000));
  EXPECT_EQ(usage.use_of(kGpu)->everybody, Share::of_millionths(400'000));
  EXPECT_EQ(usage.use_of("0000:04:00.0")->everybody, Share()) << "another GPU is another GPU";
}

TEST(DrmUsage, IsThatOfTheBusiestEngine) {
  DrmUsage usage;
  usage.look(scan_of({user(1, true, {{"gfx", busy(0)}, {"compute", busy(0)}}),
                      user(2, false, {{"gfx", busy(0)}, {"dec", busy(0)}})}),
             at_ms(0));
  usage.look(scan_of({user(1, true, {{"gfx", busy(100)}, {"compute", busy(500)}}),
                      user(2, false, {{"gfx", busy(200)}, {"dec", busy(50)}})}),
             at_ms(1000));
  EXPECT_EQ(usage.use_of(kGpu)->own, Share::of_millionths(500'000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share::of_millionths(200'000));
  EXPECT_EQ(usage.use_of(kGpu)->everybody, Share::of_millionths(500'000));
}

TEST(DrmUsage, CountsCyclesWhereTheDriverTellsNoTime) {
  DrmUsage usage;
  usage.look(scan_of({user(1, false, {{"ccs", cycles(100, 1000, 4)}})}), at_ms(0));
  usage.look(scan_of({user(1, false, {{"ccs", cycles(2100, 2000, 4)}})}), at_ms(1000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share::of_millionths(500'000))
      << "2000 cycles of four engines of 1000 each";
}

TEST(DrmUsage, SharesTimeAmongTheEnginesOfOneName) {
  DrmEngine before = busy(0);
  DrmEngine now = busy(1000);
  before.capacity = now.capacity = 2;
  EXPECT_EQ(engine_share(before, now, std::chrono::seconds(1)), Share::of_millionths(500'000));
}

TEST(DrmUsage, CountsAClientFromItsSecondLook) {
  DrmUsage usage;
  usage.look(scan_of({}), at_ms(0));
  usage.look(scan_of({user(1, false, {{"gfx", busy(70'000)}})}), at_ms(1000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share());
  usage.look(scan_of({user(1, false, {{"gfx", busy(70'900)}})}), at_ms(2000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share::of_millionths(900'000));
  usage.look(scan_of({}), at_ms(3000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share()) << "gone is gone";
}

TEST(DrmUsage, DoesNotBelieveACounterThatRanBackwards) {
  DrmUsage usage;
  usage.look(scan_of({user(1, false, {{"gfx", busy(1000)}})}), at_ms(0));
  usage.look(scan_of({user(1, false, {{"gfx", busy(10)}})}), at_ms(1000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share());
  usage.look(scan_of({user(1, false, {{"gfx", busy(510)}})}), at_ms(2000));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share::of_millionths(500'000));
}

TEST(DrmUsage, IsNeverMoreThanTheWhole) {
  DrmUsage usage;
  std::vector<DrmUser> before;
  std::vector<DrmUser> after;
  for (std::uint64_t id = 0; id < 100; ++id) {
    before.push_back(user(id, id == 0, {{"gfx", busy(0)}}));
    after.push_back(user(id, id == 0, {{"gfx", {kMost, {}, {}, 1}}}));
  }
  usage.look(scan_of(before), at_ms(0));
  usage.look(scan_of(after), at_ms(1000));
  EXPECT_EQ(usage.use_of(kGpu)->own, Share::percent(100));
  EXPECT_EQ(usage.use_of(kGpu)->others, Share::percent(100));
  EXPECT_EQ(usage.use_of(kGpu)->everybody, Share::percent(100));
}

TEST(DrmUsage, OfLooksTooCloseTogetherIsTheLastAnswer) {
  DrmUsage usage;
  usage.look(scan_of({user(1, true, {{"gfx", busy(0)}})}), at_ms(0));
  usage.look(scan_of({user(1, true, {{"gfx", busy(500)}})}), at_ms(1000));
  usage.look(scan_of({user(1, true, {{"gfx", busy(510)}})}), at_ms(1010));
  EXPECT_EQ(usage.use_of(kGpu)->own, Share::of_millionths(500'000));
  usage.look(scan_of({user(1, true, {{"gfx", busy(525)}})}), at_ms(1100));
  EXPECT_EQ(usage.use_of(kGpu)->own, Share::of_millionths(250'000))
      << "25 ms of the 100 since the last that counted";
}

}  // namespace
}  // namespace gogrid

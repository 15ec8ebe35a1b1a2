#include "device/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(DeviceSpec, NamesADeviceAlone) {
  const auto spec = parse_device_spec("vulkan0");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->id, "vulkan0");
  EXPECT_THAT(spec->cores, IsEmpty());
  EXPECT_EQ(spec->memory, std::nullopt);
}

TEST(DeviceSpec, TakesCoresAndMemoryInEitherOrder) {
  for (const auto* text : {"cpu-a:cores=0-2,6:memory=8GiB", "cpu-a:memory=8GiB:cores=6,0-2"}) {
    const auto spec = parse_device_spec(text);
    ASSERT_TRUE(spec) << text;
    EXPECT_EQ(spec->id, "cpu-a");
    EXPECT_THAT(spec->cores, ElementsAre(0, 1, 2, 6));
    EXPECT_EQ(spec->memory, 8 * kGiB);
  }
}

TEST(DeviceSpec, RefusesWhatItDoesNotKnowNamingThePart) {
  const struct {
    const char* text;
    const char* part;
  } cases[] = {
      {"", "''"},
      {":cores=0", "':cores=0'"},
      {"CPU0", "'CPU0'"},
      {"a b", "'a b'"},
      {"cpu0:", "''"},
      {"cpu0:cores=0:", "''"},
      {"cpu0:speed=9", "'speed=9'"},
      {"cpu0:cores=", "''"},
      {"cpu0:cores=0:cores=1", "'cores=1'"},
      {"cpu0:memory=lots", "'memory=lots'"},
      {"cpu0:memory=0", "'memory=0'"},
      {"cpu0:memory=1GiB:memory=1GiB", "'memory=1GiB'"},
      {"-cpu", "'-cpu'"},
  };
  for (const auto& c : cases) {
    const auto spec = parse_device_spec(c.text);
    ASSERT_FALSE(spec) << c.text;
    EXPECT_EQ(spec.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(spec.error().message, HasSubstr(c.part)) << c.text;
  }
}

TEST(DeviceSpec, BoundsTheLengthOfAnId) {
  EXPECT_TRUE(parse_device_spec(std::string(63, 'a')));
  EXPECT_FALSE(parse_device_spec(std::string(64, 'a')));
}

TEST(Cores, AreListedOnceInOrder) {
  const auto cores = parse_cores("6,0-3,2,3-4");
  ASSERT_TRUE(cores);
  EXPECT_THAT(*cores, ElementsAre(0, 1, 2, 3, 4, 6));
}

TEST(Cores, AcceptTheLargestNumberAndNoLarger) {
  const auto all = parse_cores("0-4095");
  ASSERT_TRUE(all);
  EXPECT_EQ(all->size(), 4096U);
  EXPECT_FALSE(parse_cores("4096"));
  EXPECT_FALSE(parse_cores("0-99999999999999999999"));
}

TEST(Cores, RefuseAnythingElse) {
  for (const auto* text : {"", ",", "0,", ",0", "3-1", "-1", "1-", "-", "0-1-2", "a", "0 1", "+1",
                           "0x1", "--1", "1--2"}) {
    EXPECT_FALSE(parse_cores(text)) << text;
  }
}

TEST(Cores, RefuseAListThatOnlyRepeats) {
  std::string text = "0-4095";
  for (int i = 0; i < 100; ++i) text += ",0-4095";
  EXPECT_FALSE(parse_cores(text));
}

}  // namespace
}  // namespace gogrid

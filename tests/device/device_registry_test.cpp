#include "device/device_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/cpu_info.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

using gogrid::testing::ManualClock;
using ::testing::HasSubstr;

TEST(DeviceRegistry, FindsTheCpuWithAllItsCoresAndMemory) {
  const ManualClock clock;
  const auto registry = DeviceRegistry::detect({}, clock);
  ASSERT_TRUE(registry) << registry.error().message;
  const auto cpu = registry->find("cpu0");
  ASSERT_TRUE(cpu) << cpu.error().message;
  EXPECT_EQ(cpu->kind, DeviceKind::kCpu);
  EXPECT_EQ(cpu->cores, usable_cores());
  EXPECT_FALSE(cpu->pinned);
  ASSERT_TRUE(cpu->memory_total);
  EXPECT_GT(*cpu->memory_total, 64 * kMiB);
  EXPECT_FALSE(cpu->name.empty());
}

TEST(DeviceRegistry, NeverSaysZeroForUnknown) {
  const ManualClock clock;
  const auto registry = DeviceRegistry::detect({}, clock);
  ASSERT_TRUE(registry);
  for (const Device& device : registry->devices()) {
    EXPECT_NE(device.memory_total, Bytes{0}) << device.id;
    EXPECT_EQ(device.cores.empty(), device.kind != DeviceKind::kCpu) << device.id;
  }
}

TEST(DeviceRegistry, MakesTheDevicesTheUserNamed) {
  const ManualClock clock;
  DeviceSpec spec{.id = "cpu-a", .cores = {usable_cores().front()}, .memory = kGiB};
  const auto registry = DeviceRegistry::detect(std::span(&spec, 1), clock);
  ASSERT_TRUE(registry) << registry.error().message;
  ASSERT_EQ(registry->devices().size(), 1U);
  EXPECT_EQ(registry->devices().front().memory_budget, kGiB);
  EXPECT_TRUE(registry->devices().front().pinned);
}

TEST(DeviceRegistry, SuggestsTheNearestName) {
  const ManualClock clock;
  const auto registry = DeviceRegistry::detect({}, clock);
  ASSERT_TRUE(registry);
  const auto device = registry->find("cpu1");
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(device.error().message, HasSubstr("cpu0"));
}

}  // namespace
}  // namespace gogrid

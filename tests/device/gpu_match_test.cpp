#include "device/gpu_match.h"

#include <gtest/gtest.h>

#include "device/device_registry.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

TEST(GpuMatch, FindsTheReadingAtAnAddress) {
  GpuReadings readings;
  readings.gpus.resize(3);
  readings.gpus[1].id = "0000:03:00.0";
  readings.gpus[2].id = "0000:c1:00.0";
  EXPECT_EQ(reading_at(readings, "0000:c1:00.0"), &readings.gpus[2]);
  EXPECT_EQ(reading_at(readings, "0000:c1:00"), nullptr);
  EXPECT_EQ(reading_at(readings, ""), nullptr) << "an unknown address is no unknown GPU's";
}

TEST(GpuMatch, GivesNoCpuAnAddress) {
  const gogrid::testing::ManualClock clock;
  const auto registry = DeviceRegistry::detect({}, clock);
  ASSERT_TRUE(registry);
  EXPECT_EQ(pci_address_of(registry->find("cpu0").value()), "");
  Device absent;
  absent.kind = DeviceKind::kGpu;
  absent.ggml_index = 10'000;
  EXPECT_EQ(pci_address_of(absent), "");
}

}  // namespace
}  // namespace gogrid

#include "device/device_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<int> kCores = {0, 1, 2, 3};

std::vector<Device> a_machine() {
  Device cpu;
  cpu.id = "cpu0";
  cpu.backend = "CPU";
  cpu.cores = kCores;
  cpu.ggml_index = 1;
  Device gpu;
  gpu.id = "vulkan0";
  gpu.backend = "Vulkan";
  gpu.kind = DeviceKind::kGpu;
  return {gpu, cpu};
}

Result<std::vector<Device>> select(std::initializer_list<const char*> texts) {
  std::vector<DeviceSpec> specs;
  for (const char* text : texts) {
    auto spec = parse_device_spec(text);
    if (!spec) return std::unexpected(spec.error());
    specs.push_back(*std::move(spec));
  }
  return select_devices(a_machine(), specs, kCores);
}

TEST(DeviceSelection, IsEverythingWhenNothingIsNamed) {
  const auto devices = select({});
  ASSERT_TRUE(devices);
  ASSERT_EQ(devices->size(), 2U);
  EXPECT_FALSE(devices->back().pinned);
  EXPECT_FALSE(devices->back().named);
}

TEST(DeviceSelection, IsInTheOrderOfTheUser) {
  const auto devices = select({"cpu0:memory=1GiB", "vulkan0"});
  ASSERT_TRUE(devices);
  EXPECT_EQ(devices->at(0).id, "cpu0");
  EXPECT_EQ(devices->at(0).memory_budget, kGiB);
  EXPECT_EQ(devices->at(1).id, "vulkan0");
  EXPECT_TRUE(devices->at(1).named);
  EXPECT_EQ(devices->at(1).memory_budget, std::nullopt);
}

TEST(DeviceSelection, MakesCpuDevicesOfCores) {
  const auto devices = select({"cpu-a:cores=0-1", "cpu-b:cores=3"});
  ASSERT_TRUE(devices);
  EXPECT_THAT(devices->at(0).cores, ElementsAre(0, 1));
  EXPECT_THAT(devices->at(1).cores, ElementsAre(3));
  EXPECT_TRUE(devices->at(0).pinned);
  EXPECT_EQ(devices->at(1).backend, "CPU");
  EXPECT_EQ(devices->at(1).ggml_index, 1U);
}

TEST(DeviceSelection, PinsAKnownCpuToGivenCores) {
  const auto devices = select({"cpu0:cores=2"});
  ASSERT_TRUE(devices);
  EXPECT_THAT(devices->at(0).cores, ElementsAre(2));
  EXPECT_TRUE(devices->at(0).pinned);
}

TEST(DeviceSelection, RefusesWhatThisMachineHasNot) {
  const struct {
    std::initializer_list<const char*> specs;
    ErrorCode code;
    const char* text;
  } cases[] = {
      {{"vulkan1"}, ErrorCode::kNotFound, "vulkan0"},
      {{"cuda0:cores=0"}, ErrorCode::kNotFound, "cuda0"},
      {{"cpu-a"}, ErrorCode::kNotFound, "ID:cores="},
      {{"vulkan0:cores=1"}, ErrorCode::kInvalidArgument, "is a gpu"},
      {{"cpu-a:cores=4"}, ErrorCode::kInvalidArgument, "core 4"},
      {{"cpu-a:cores=0-1", "cpu-b:cores=1"}, ErrorCode::kInvalidArgument, "core 1"},
      {{"cpu0", "cpu-b:cores=1"}, ErrorCode::kInvalidArgument, "core 1"},
      {{"vulkan0", "vulkan0"}, ErrorCode::kInvalidArgument, "twice"},
  };
  for (const auto& c : cases) {
    const auto devices = select(c.specs);
    ASSERT_FALSE(devices) << c.text;
    EXPECT_EQ(devices.error().code, c.code);
    EXPECT_THAT(devices.error().message, HasSubstr(c.text));
  }
}

TEST(DeviceSelection, NamesDevicesByBackendAndNumber) {
  EXPECT_EQ(device_id("CUDA", 1), "cuda1");
  EXPECT_EQ(device_id("CPU", 0), "cpu0");
}

TEST(DeviceSelection, KnowsRenderersInSoftware) {
  EXPECT_TRUE(is_software_renderer("llvmpipe (LLVM 19.1.7, 256 bits)"));
  EXPECT_FALSE(is_software_renderer("AMD Radeon RX 6800 (RADV NAVI21)"));
}

}  // namespace
}  // namespace gogrid

#include "device/nvml_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "device/fake_nvml/loaded.h"
#include "device/gpu_machine.h"
#include "support/manual_clock.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using gogrid::testing::GpuMachine;
using gogrid::testing::LoadedNvml;
using gogrid::testing::ManualClock;
using gogrid::testing::TemporaryFolder;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr unsigned kOwn = 4711;
constexpr unsigned kOther = 42;
constexpr std::uint64_t kWallUs = 1'700'000'000'000'000;

// A source of the fake library, with clocks that move when told.
class NvmlSourceTest : public ::testing::Test {
 protected:
  NvmlSource source(bool host_pids = true) {
    return NvmlSource({.library = fake_.path(),
                       .root = machine_.root(),
                       .own_pid = kOwn,
                       .host_pids = host_pids,
                       .wall_us = [] { return kWallUs; }},
                      clock_);
  }

  // GPU `index` of the fake, as sysfs tells of it.
  void has_power(unsigned index, const std::string& control, const std::string& status,
                 const std::string& users) {
    const std::string device =
        "sys/bus/pci/drivers/nvidia/0001:" + std::to_string(40 + index) + ":00.0";
    machine_.put(device + "/uevent", "DRIVER=nvidia\nPCI_ID=10DE:2684\n");
    machine_.put(device + "/power/control", control + "\n");
    machine_.put(device + "/power/runtime_status", status + "\n");
    machine_.put(device + "/power/runtime_usage", users + "\n");
  }

  LoadedNvml fake_;
  GpuMachine machine_;
  ManualClock clock_;
};

TEST_F(NvmlSourceTest, TellsOwnUseFromOthers) {
  fake_->gpu_percent = 90;
  fake_->memory_used = 500;
  fake_.add_process(0, kOwn, 300, 60, kWallUs - 1000);
  fake_.add_process(1, kOther, 200, 30, kWallUs - 2000);
  const SourceReading reading = source().read();
  ASSERT_THAT(reading.gpus, SizeIs(1));
  const GpuReading& gpu = reading.gpus.front();
  EXPECT_EQ(gpu.id, "0001:40:00.0");
  EXPECT_EQ(gpu.vendor, "nvidia");
  EXPECT_EQ(gpu.memory_used, 500U);
  EXPECT_EQ(gpu.memory_own, 300U);
  EXPECT_EQ(gpu.busy, Share::of_millionths(900'000));
  EXPECT_EQ(gpu.busy_by_own, Share::of_millionths(600'000));
  EXPECT_EQ(gpu.busy_by_others, Share::of_millionths(300'000));
  EXPECT_EQ(gpu.celsius, 40);
  EXPECT_EQ(gpu.partitioned, false);
  EXPECT_THAT(gpu.notes, IsEmpty());
  EXPECT_FALSE(reading.fault);
}

TEST_F(NvmlSourceTest, DoesNotTakeOldUseForPresentUse) {
  fake_.add_process(0, kOther, 0, 80, kWallUs - 2'000'000);
  const SourceReading reading = source().read();
  EXPECT_EQ(reading.gpus.at(0).busy_by_others, Share());
}

TEST_F(NvmlSourceTest, DoesNotCallABusyGpuIdleBecauseNobodyIsNamed) {
  fake_->gpu_percent = 55;
  const GpuReading gpu = source().read().gpus.at(0);
  EXPECT_EQ(gpu.busy, Share::of_millionths(550'000));
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("busier than the processes")));
}

TEST_F(NvmlSourceTest, InAContainerTellsOwnFromOthersByNoNumber) {
  fake_->gpu_percent = 90;
  fake_.add_process(0, kOwn, 300, 60, kWallUs - 1000);  // somebody else's, there
  const GpuReading gpu = source(false).read().gpus.at(0);
  EXPECT_EQ(gpu.busy, Share::of_millionths(900'000));
  EXPECT_EQ(gpu.memory_own, std::nullopt);
  EXPECT_EQ(gpu.busy_by_own, std::nullopt);
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("container")));
}

TEST_F(NvmlSourceTest, LeavesUnknownWhatIsNotSupported) {
  fake_->utilization_code = nvml::kNotSupported;
  fake_->use_code = nvml::kNotSupported;
  fake_->processes_code = nvml::kNoPermission;
  const SourceReading reading = source().read();
  const GpuReading& gpu = reading.gpus.at(0);
  EXPECT_EQ(gpu.busy, std::nullopt);
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_EQ(gpu.memory_own, std::nullopt);
  EXPECT_TRUE(gpu.memory_total);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("utilization unknown: [nvml] "
                                            "nvmlDeviceGetUtilizationRates: not supported")));
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("permission denied")));
  EXPECT_FALSE(reading.fault) << "one figure is no fault of the whole";
}

TEST_F(NvmlSourceTest, NamesMigAsTheReasonForUnknownUse) {
  fake_->mig = true;
  const GpuReading gpu = source().read().gpus.at(0);
  EXPECT_EQ(gpu.partitioned, true);
  EXPECT_EQ(gpu.busy, std::nullopt);
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_TRUE(gpu.memory_total);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("MIG")));
}

TEST_F(NvmlSourceTest, ReadsEightGpus) {
  fake_->gpus = 8;
  const SourceReading reading = source().read();
  ASSERT_THAT(reading.gpus, SizeIs(8));
  for (unsigned i = 0; i < 8; ++i) {
    EXPECT_EQ(reading.gpus[i].name, "NVIDIA Fake " + std::to_string(i));
    EXPECT_EQ(reading.gpus[i].celsius, 40 + static_cast<int>(i));
  }
}

TEST_F(NvmlSourceTest, KeepsALostGpuListedAndUnknownUntilItIsBack) {
  fake_->gpus = 3;
  fake_->gpu_percent = 50;
  NvmlSource nvml = source();
  nvml.read();
  fake_->lost_gpu = 1;
  const SourceReading lost = nvml.read();
  ASSERT_THAT(lost.gpus, SizeIs(3));
  EXPECT_EQ(lost.gpus[1].name, "NVIDIA Fake 1");
  EXPECT_EQ(lost.gpus[1].busy, std::nullopt);
  EXPECT_EQ(lost.gpus[1].memory_total, std::nullopt);
  EXPECT_THAT(lost.gpus[1].notes, Contains(HasSubstr("the GPU is lost")));
  EXPECT_EQ(lost.gpus[0].busy, Share::of_millionths(500'000)) << "its neighbours are as before";
  EXPECT_EQ(lost.gpus[2].busy, Share::of_millionths(500'000));
  ASSERT_TRUE(lost.fault);
  fake_->lost_gpu = -1;
  const SourceReading back = nvml.read();
  EXPECT_EQ(back.gpus.at(1).busy, Share::of_millionths(500'000));
  EXPECT_FALSE(back.fault);
}

TEST_F(NvmlSourceTest, KeepsAGpuListedThatTheDriverForgot) {
  fake_->gpus = 2;
  NvmlSource nvml = source();
  nvml.read();
  fake_->gpus = 1;
  const SourceReading reading = nvml.read();
  ASSERT_THAT(reading.gpus, SizeIs(2));
  EXPECT_TRUE(reading.gpus[0].busy);
  EXPECT_FALSE(reading.gpus[1].busy);
  EXPECT_THAT(reading.gpus[1].notes, Contains(HasSubstr("no longer")));
}

TEST_F(NvmlSourceTest, StartsTheLibraryAnewForALostGpuOnceAMinute) {
  fake_->gpus = 2;
  NvmlSource nvml = source();
  nvml.read();
  fake_->lost_gpu = 0;
  for (int second = 0; second < 120; ++second) {
    nvml.read();
    clock_.advance(std::chrono::seconds(1));
  }
  EXPECT_GE(fake_->inits, 2);
  EXPECT_LE(fake_->inits, 3);
  EXPECT_EQ(fake_->shutdowns, fake_->inits - 1);
}

TEST_F(NvmlSourceTest, AsksNoMoreThanOnceAMinuteAfterAFailure) {
  fake_->init_code = nvml::kDriverNotLoaded;
  NvmlSource nvml = source();
  for (int second = 0; second < 60; ++second) {
    const SourceReading reading = nvml.read();
    ASSERT_TRUE(reading.fault);
    EXPECT_THAT(reading.fault->message, HasSubstr("driver is not loaded"));
    clock_.advance(std::chrono::seconds(1));
  }
  EXPECT_EQ(fake_->inits, 1);
  fake_->init_code = 0;
  EXPECT_THAT(nvml.read().gpus, SizeIs(1));
  EXPECT_EQ(fake_->inits, 2);
}

TEST_F(NvmlSourceTest, FindsALibraryThatIsInstalledLater) {
  const TemporaryFolder folder;
  NvmlSource nvml({.library = folder / "libnvidia-ml.so.1",
                   .root = folder.path(),
                   .own_pid = kOwn,
                   .host_pids = true},
                  clock_);
  EXPECT_THAT(nvml.read().fault.value().message, HasSubstr("is the NVIDIA driver installed?"));
  std::filesystem::create_symlink(fake_.path(), folder / "libnvidia-ml.so.1");
  clock_.advance(std::chrono::seconds(59));
  EXPECT_THAT(nvml.read().gpus, IsEmpty());
  clock_.advance(std::chrono::seconds(1));
  EXPECT_THAT(nvml.read().gpus, SizeIs(1));
}

TEST_F(NvmlSourceTest, KeepsEveryGpuListedWhenTheDriverGoes) {
  fake_->gpus = 2;
  NvmlSource nvml = source();
  nvml.read();
  fake_->count_code = nvml::kUninitialized;
  const SourceReading reading = nvml.read();
  ASSERT_THAT(reading.gpus, SizeIs(2));
  EXPECT_EQ(reading.gpus[0].memory_used, std::nullopt);
  EXPECT_THAT(reading.gpus[0].notes, Contains(HasSubstr("not initialized")));
}

TEST_F(NvmlSourceTest, DoesNotWakeAGpuThatSleeps) {
  has_power(0, "auto", "suspended", "0");
  const SourceReading reading = source().read();
  ASSERT_THAT(reading.gpus, SizeIs(1));
  EXPECT_EQ(reading.gpus[0].id, "0001:40:00.0");
  EXPECT_EQ(reading.gpus[0].name, "nvidia 10DE:2684");
  EXPECT_EQ(reading.gpus[0].busy, Share());
  EXPECT_EQ(reading.gpus[0].busy_by_others, Share());
  EXPECT_EQ(reading.gpus[0].memory_used, std::nullopt);
  EXPECT_FALSE(reading.fault);
  EXPECT_EQ(fake_->inits, 0) << "NVML was not even loaded";
}

TEST_F(NvmlSourceTest, KeepsNoGpuAwakeThatMaySleep) {
  has_power(0, "auto", "active", "1");
  NvmlSource nvml = source();
  EXPECT_EQ(nvml.read().gpus.at(0).name, "NVIDIA Fake 0");
  EXPECT_EQ(fake_->shutdowns, 1) << "unloaded after the look";
  has_power(0, "auto", "active", "0");
  const GpuReading resting = nvml.read().gpus.at(0);
  EXPECT_EQ(resting.name, "NVIDIA Fake 0");
  EXPECT_EQ(resting.busy, Share());
  EXPECT_EQ(fake_->inits, 1) << "nobody uses it: it is about to sleep";
  has_power(0, "auto", "active", "1");
  fake_->gpu_percent = 70;
  fake_.add_process(0, kOther, 100, 70, kWallUs - 1000);
  EXPECT_EQ(nvml.read().gpus.at(0).busy_by_others, Share::of_millionths(700'000))
      << "somebody does again";
  EXPECT_EQ(fake_->inits, 2);
}

TEST_F(NvmlSourceTest, StaysLoadedWhileThisProcessUsesAGpuThatMaySleep) {
  has_power(0, "auto", "active", "1");
  fake_.add_process(0, kOwn, 100);
  NvmlSource nvml = source();
  nvml.read();
  nvml.read();
  EXPECT_EQ(fake_->inits, 1);
  EXPECT_EQ(fake_->shutdowns, 0);
}

TEST_F(NvmlSourceTest, StaysLoadedForAGpuThatNeverSleeps) {
  has_power(0, "on", "active", "0");
  NvmlSource nvml = source();
  nvml.read();
  nvml.read();
  EXPECT_EQ(fake_->inits, 1);
}

TEST_F(NvmlSourceTest, AsksTheOneGpuAndLetsTheOtherSleep) {
  fake_->gpus = 2;
  fake_->gpu_percent = 30;
  has_power(0, "auto", "active", "1");
  has_power(1, "auto", "active", "1");
  NvmlSource nvml = source();
  nvml.read();
  has_power(1, "auto", "suspended", "0");
  fake_->lost_gpu = 1;  // would say so if it were asked
  const SourceReading reading = nvml.read();
  ASSERT_THAT(reading.gpus, SizeIs(2));
  EXPECT_EQ(reading.gpus[0].busy, Share::of_millionths(300'000));
  EXPECT_EQ(reading.gpus[1].busy, Share());
  EXPECT_FALSE(reading.fault);
}

TEST_F(NvmlSourceTest, ListsAGpuOnceThatWasWokenToTellItsName) {
  fake_->gpus = 2;
  has_power(0, "auto", "active", "1");
  has_power(1, "auto", "suspended", "0");
  EXPECT_THAT(source().read().gpus, SizeIs(2));
}

TEST(NvmlSource, OfAHalfLibraryKnowsMemoryAndSaysWhatIsMissing) {
  LoadedNvml fake("half");
  fake->memory_used = 7;
  const ManualClock clock;
  const TemporaryFolder root;
  NvmlSource nvml({.library = fake.path(), .root = root.path(), .own_pid = kOwn, .host_pids = true},
                  clock);
  const GpuReading gpu = nvml.read().gpus.at(0);
  EXPECT_EQ(gpu.memory_used, 7U);
  EXPECT_EQ(gpu.busy, std::nullopt);
  EXPECT_EQ(gpu.celsius, std::nullopt);
  EXPECT_EQ(gpu.partitioned, false) << "a driver without the function has no such GPU";
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("nvmlDeviceGetTemperature: the driver has no such")));
}

TEST(FillSplit, KnowsBothWhereTheyExplainTheGpu) {
  GpuReading gpu;
  gpu.busy = Share::of_millionths(900'000);
  fill_split(gpu, {.own = Share(), .others = Share::of_millionths(700'000)});
  EXPECT_EQ(gpu.busy_by_own, Share());
  EXPECT_EQ(gpu.busy_by_others, Share::of_millionths(700'000));
  EXPECT_THAT(gpu.notes, IsEmpty());
}

TEST(FillSplit, TakesAMissingSampleForUnknownRatherThanIdle) {
  GpuReading own_seen;
  own_seen.busy = Share::of_millionths(950'000);
  fill_split(own_seen, {.own = Share::of_millionths(600'000), .others = Share()});
  EXPECT_EQ(own_seen.busy_by_own, Share::of_millionths(600'000));
  EXPECT_EQ(own_seen.busy_by_others, std::nullopt);
  EXPECT_THAT(own_seen.notes, SizeIs(1));
  GpuReading others_seen;
  others_seen.busy = Share::of_millionths(950'000);
  fill_split(others_seen, {.own = Share(), .others = Share::of_millionths(600'000)});
  EXPECT_EQ(others_seen.busy_by_own, std::nullopt);
  EXPECT_EQ(others_seen.busy_by_others, Share::of_millionths(600'000)) << "at least";
}

TEST(FillSplit, BelievesTheDriverWhereTheGpusOwnFigureIsUnknown) {
  GpuReading gpu;
  fill_split(gpu, {.own = Share(), .others = Share()});
  EXPECT_EQ(gpu.busy_by_own, Share());
  EXPECT_EQ(gpu.busy_by_others, Share());
}

TEST(SplitUse, NeverTellsMoreThanTheWhole) {
  const std::vector<NvmlProcessUse> uses{
      {.pid = 1, .sm = 70}, {.pid = 2, .sm = 60}, {.pid = 3, .sm = 9}};
  EXPECT_EQ(split_use(uses, 3).own, Share::of_millionths(90'000));
  EXPECT_EQ(split_use(uses, 3).others, Share::percent(100));
  EXPECT_EQ(split_use({}, 3).others, Share());
}

}  // namespace
}  // namespace gogrid

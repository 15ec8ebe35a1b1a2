#include "device/nvml_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "device/fake_nvml/loaded.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using gogrid::testing::LoadedNvml;
using gogrid::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

NvmlLibrary opened(const LoadedNvml& fake) {
  auto library = NvmlLibrary::open(fake.path());
  if (!library) throw std::runtime_error(library.error().message);
  return *std::move(library);
}

auto process(unsigned pid, std::optional<Bytes> memory) {
  return AllOf(Field(&NvmlProcess::pid, pid), Field(&NvmlProcess::memory, memory));
}

TEST(NvmlLibrary, AbsentAsksWhetherTheDriverIsInstalled) {
  const TemporaryFolder folder;
  const auto library = NvmlLibrary::open(folder / "libnvidia-ml.so.1");
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(library.error().message,
              HasSubstr("libnvidia-ml.so.1 not found: is the NVIDIA driver installed?"));
}

TEST(NvmlLibrary, ThatIsNoLibraryIsNotCalledAbsent) {
  const TemporaryFolder folder;
  std::ofstream(folder / "libnvidia-ml.so.1") << "no library at all";
  const auto library = NvmlLibrary::open(folder / "libnvidia-ml.so.1");
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(library.error().message, HasSubstr("cannot load"));
  EXPECT_THAT(library.error().message, Not(HasSubstr("not found:")));
}

TEST(NvmlLibrary, NamesEveryFunctionItCannotDoWithout) {
  const LoadedNvml fake("broken");
  const auto library = NvmlLibrary::open(fake.path());
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(library.error().message,
              AllOf(HasSubstr("nvmlShutdown"), HasSubstr("nvmlDeviceGetHandleByIndex_v2"),
                    Not(HasSubstr("nvmlDeviceGetCount"))));
}

TEST(NvmlLibrary, SaysWhyItCannotBeInitialized) {
  struct Case {
    int code;
    ErrorCode ours;
    std::string text;
  };
  for (const Case& example : {
           Case{nvml::kDriverNotLoaded, ErrorCode::kUnavailable, "driver is not loaded"},
           Case{nvml::kNoPermission, ErrorCode::kPermissionDenied, "permission denied"},
           Case{nvml::kOperatingSystem, ErrorCode::kPermissionDenied, "control group"},
           Case{nvml::kVersionMismatch, ErrorCode::kUnavailable, "different versions"},
           Case{12345, ErrorCode::kInternal, "12345"},
       }) {
    LoadedNvml fake;
    fake->init_code = example.code;
    const auto library = NvmlLibrary::open(fake.path());
    ASSERT_FALSE(library) << example.code;
    EXPECT_EQ(library.error().code, example.ours) << example.code;
    EXPECT_THAT(library.error().message,
                AllOf(HasSubstr("[nvml] nvmlInit_v2: "), HasSubstr(example.text)));
    EXPECT_EQ(fake->shutdowns, 0) << "what was not initialized is not shut down";
  }
}

TEST(NvmlLibrary, IsShutDownOnceWithItsObject) {
  LoadedNvml fake;
  {
    NvmlLibrary first = opened(fake);
    const NvmlLibrary second = std::move(first);
    EXPECT_EQ(fake->shutdowns, 0);
  }
  EXPECT_EQ(fake->inits, 1);
  EXPECT_EQ(fake->shutdowns, 1);
}

TEST(NvmlLibrary, TellsWhoAGpuIs) {
  LoadedNvml fake;
  fake->gpus = 8;
  const NvmlLibrary library = opened(fake);
  EXPECT_EQ(library.count().value(), 8U);
  const nvml::Device device = library.device(7).value();
  EXPECT_EQ(library.uuid(device).value(), "GPU-00000000-0000-0000-0000-000000000007");
  EXPECT_EQ(library.name(device).value(), "NVIDIA Fake 7");
  EXPECT_EQ(library.pci_address(device).value(), "0001:47:00.0");
}

TEST(NvmlLibrary, TellsWhatAGpuDoes) {
  LoadedNvml fake;
  fake->gpu_percent = 87;
  fake->memory_percent = 13;
  fake->memory_total = 1000;
  fake->memory_used = 300;
  const NvmlLibrary library = opened(fake);
  const nvml::Device device = library.device(0).value();
  EXPECT_EQ(library.utilization(device)->gpu, 87U);
  EXPECT_EQ(library.utilization(device)->memory, 13U);
  EXPECT_EQ(library.memory(device)->total, 1000U);
  EXPECT_EQ(library.memory(device)->used, 300U);
  EXPECT_EQ(library.memory(device)->free, 700U);
  EXPECT_EQ(library.celsius(device).value(), 40);
  EXPECT_FALSE(library.mig_enabled(device).value());
}

TEST(NvmlLibrary, OfOldDriversStillTellsWhatTheyCould) {
  LoadedNvml fake("old");
  fake->gpu_percent = 50;
  fake.add_process(0, 10, 100);
  fake.add_process(1, 11, 200);
  const NvmlLibrary library = opened(fake);
  const nvml::Device device = library.device(0).value();
  EXPECT_EQ(library.pci_address(device).value(), "0001:40:00.0");
  EXPECT_EQ(library.utilization(device)->gpu, 50U);
  EXPECT_THAT(library.processes(device).value(), ElementsAre(process(10, 100), process(11, 200)));
  EXPECT_EQ(library.mig_enabled(device).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(library.process_use(device, 0).error().code, ErrorCode::kUnsupported);
}

TEST(NvmlLibrary, WithHalfItsFunctionsNamesTheMissingOneWhenAsked) {
  LoadedNvml fake("half");
  fake->memory_used = 5;
  const NvmlLibrary library = opened(fake);
  const nvml::Device device = library.device(0).value();
  EXPECT_EQ(library.memory(device)->used, 5U);
  for (const Error& error :
       {library.utilization(device).error(), library.name(device).error(),
        library.celsius(device).error(), library.processes(device).error(),
        library.process_use(device, 0).error(), library.pci_address(device).error()}) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_THAT(error.message, HasSubstr("[nvml] nvmlDeviceGet"));
  }
}

TEST(NvmlLibrary, ReadsProcessesWhicheverSizeTheirEntriesHave) {
  for (const bool wide : {false, true}) {
    LoadedNvml fake;
    fake->wide_entries = wide;
    fake.add_process(0, 10, 100);
    fake.add_process(1, 11, nvml::kNotAvailable);
    fake.add_process(2, 12, 300);
    const NvmlLibrary library = opened(fake);
    EXPECT_THAT(library.processes(library.device(0).value()).value(),
                ElementsAre(process(10, 100), process(11, std::nullopt), process(12, 300)))
        << wide;
  }
}

TEST(NvmlLibrary, TakesTheDriversWordWhenItClearedTheWholeBuffer) {
  LoadedNvml fake;
  fake->clears_buffer = true;
  fake.add_process(0, 10, 100);
  fake.add_process(1, 11, 200);
  const NvmlLibrary library = opened(fake);
  EXPECT_THAT(library.processes(library.device(0).value()).value(),
              ElementsAre(process(10, 100), process(11, 200)));
}

TEST(NvmlLibrary, CountsAProcessThatComputesAndDrawsOnce) {
  LoadedNvml fake;
  fake.add_process(0, 10, 100);
  fake->processes[0].draws = true;
  const NvmlLibrary library = opened(fake);
  EXPECT_THAT(library.processes(library.device(0).value()).value(), ElementsAre(process(10, 100)));
}

TEST(NvmlLibrary, MakesRoomForMoreProcessesThanItFirstHad) {
  LoadedNvml fake;
  for (unsigned i = 0; i < 256; ++i) fake.add_process(i, 1000 + i, i, 1, 77);
  const NvmlLibrary library = opened(fake);
  const nvml::Device device = library.device(0).value();
  EXPECT_THAT(library.processes(device).value(), SizeIs(256));
  EXPECT_THAT(library.process_use(device, 76).value(), SizeIs(256));
}

TEST(NvmlLibrary, ReadsNobodyAsNobody) {
  LoadedNvml fake;
  const NvmlLibrary library = opened(fake);
  const nvml::Device device = library.device(0).value();
  EXPECT_THAT(library.processes(device).value(), IsEmpty());
  EXPECT_THAT(library.process_use(device, 0).value(), IsEmpty());
}

TEST(NvmlLibrary, DropsSamplesThatAreOldOrImpossible) {
  LoadedNvml fake;
  fake->hands_out_old = true;
  fake.add_process(0, 10, 0, 30, 999);     // as old as `since`
  fake.add_process(1, 11, 0, 4000, 1500);  // not a per cent
  fake.add_process(2, 12, 0, 40, 1500);
  const NvmlLibrary library = opened(fake);
  EXPECT_THAT(library.process_use(library.device(0).value(), 999).value(),
              ElementsAre(AllOf(Field(&NvmlProcessUse::pid, 12U), Field(&NvmlProcessUse::sm, 40U),
                                Field(&NvmlProcessUse::time_us, 1500U))));
}

TEST(NvmlLibrary, SaysThatAGpuIsLostAndFindsItAgain) {
  LoadedNvml fake;
  const NvmlLibrary library = opened(fake);
  const nvml::Device before = library.device(0).value();
  fake->lost_gpu = 0;
  EXPECT_EQ(library.memory(before).error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(library.memory(before).error().message, HasSubstr("the GPU is lost"));
  EXPECT_EQ(library.device(0).error().code, ErrorCode::kUnavailable);
  fake->lost_gpu = -1;
  EXPECT_TRUE(library.memory(library.device(0).value()));
}

}  // namespace
}  // namespace gogrid

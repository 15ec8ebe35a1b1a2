#include "device/sysfs_gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/gpu_machine.h"
#include "device/small_file.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

using gogrid::testing::GpuMachine;
using gogrid::testing::ManualClock;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr unsigned kOwn = 4711;
constexpr unsigned kOther = 500;
const std::string kAddress = "0000:03:00.0";

class SysfsGpu : public ::testing::Test {
 protected:
  std::string add_amd() {
    const std::string card = machine_.add_card("card0", "amdgpu", kAddress);
    machine_.put(card + "/gpu_busy_percent", "90\n");
    machine_.put(card + "/mem_info_vram_total", "17163091968\n");
    machine_.put(card + "/mem_info_vram_used", "2000000000\n");
    machine_.put(card + "/hwmon/hwmon3/temp1_input", "54000\n");
    return card;
  }
  // What `pid` used since it began.
  void uses(unsigned pid, const std::string& driver, unsigned milliseconds,
            const std::string& engine = "gfx") {
    machine_.open_gpu(pid, 3, driver, kAddress, pid,
                      "drm-memory-vram:\t1024 KiB\ndrm-engine-" + engine + ":\t" +
                          std::to_string(milliseconds) + "000000 ns\n");
  }
  GpuReading look(SysfsGpuSource& source) {
    const SourceReading reading = source.read();
    return reading.gpus.at(0);
  }
  // The second of two looks, a second apart, between which each process worked so long.
  GpuReading look_after(const std::string& driver, unsigned own_ms, unsigned others_ms) {
    uses(kOwn, driver, 1000);
    uses(kOther, driver, 1000);
    SysfsGpuSource source({.root = machine_.root(), .own_pid = kOwn}, clock_);
    source.read();
    uses(kOwn, driver, 1000 + own_ms);
    uses(kOther, driver, 1000 + others_ms);
    clock_.advance(std::chrono::seconds(1));
    return look(source);
  }

  GpuMachine machine_;
  ManualClock clock_;
};

TEST_F(SysfsGpu, OfAmdTellsEveryFigure) {
  add_amd();
  const GpuReading gpu = look_after("amdgpu", 600, 200);
  EXPECT_EQ(gpu.id, kAddress);
  EXPECT_EQ(gpu.vendor, "amd");
  EXPECT_EQ(gpu.name, "amdgpu 1002:73BF");
  EXPECT_EQ(gpu.memory_total, 17163091968U);
  EXPECT_EQ(gpu.memory_used, 2000000000U);
  EXPECT_EQ(gpu.memory_free, 15163091968U);
  EXPECT_EQ(gpu.memory_own, kMiB);
  EXPECT_EQ(gpu.celsius, 54);
  EXPECT_EQ(gpu.busy, Share::of_millionths(900'000));
  EXPECT_EQ(gpu.busy_by_own, Share::of_millionths(600'000));
  EXPECT_EQ(gpu.busy_by_others, Share::of_millionths(200'000))
      << "as seen, not what is left of the driver's figure";
  EXPECT_THAT(gpu.notes, IsEmpty());
}

TEST_F(SysfsGpu, TakesTheRestForOthersWhereNotAllCanBeSeen) {
  add_amd();
  machine_.add_hidden_process(20, "S 1 1 1 0 -1 4194304");
  const GpuReading gpu = look_after("amdgpu", 600, 200);
  EXPECT_EQ(gpu.busy_by_others, Share::of_millionths(300'000));
  EXPECT_THAT(gpu.notes, Contains(AllOf(HasSubstr("estimated"), HasSubstr("1 processes"))));
}

TEST_F(SysfsGpu, DoesNotCallItsOwnComputeWorkOthers) {
  add_amd();
  machine_.open_file(kOwn, 9, "/dev/kfd", "");
  const GpuReading gpu = look_after("amdgpu", 0, 0);
  EXPECT_EQ(gpu.busy, Share::of_millionths(900'000));
  EXPECT_EQ(gpu.busy_by_own, std::nullopt);
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_EQ(gpu.memory_own, std::nullopt);
}

TEST_F(SysfsGpu, CountsComputeWorkOfOthersThatFilesDoNotTell) {
  add_amd();
  machine_.open_file(800, 9, "/dev/kfd", "");
  EXPECT_EQ(look_after("amdgpu", 100, 0).busy_by_others, Share::of_millionths(800'000));
}

TEST_F(SysfsGpu, OfIntelIsBusyAsItsClientsAre) {
  machine_.add_card("card1", "i915", kAddress);
  const GpuReading gpu = look_after("i915", 100, 400);
  EXPECT_EQ(gpu.vendor, "intel");
  EXPECT_EQ(gpu.busy, Share::of_millionths(500'000));
  EXPECT_EQ(gpu.busy_by_own, Share::of_millionths(100'000));
  EXPECT_EQ(gpu.busy_by_others, Share::of_millionths(400'000));
  EXPECT_EQ(gpu.memory_total, std::nullopt);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("memory unknown")));
}

TEST_F(SysfsGpu, OfIntelIsUnknownRatherThanIdleWhereNotAllCanBeSeen) {
  machine_.add_card("card1", "xe", kAddress);
  machine_.add_hidden_process(20, "S 1 1 1 0 -1 4194304");
  const GpuReading gpu = look_after("xe", 100, 0);
  EXPECT_EQ(gpu.busy, std::nullopt);
  EXPECT_EQ(gpu.busy_by_own, Share::of_millionths(100'000));
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("CAP_SYS_PTRACE")));
}

TEST_F(SysfsGpu, OfIntelTellsAtLeastWhatCanBeSeen) {
  machine_.add_card("card1", "xe", kAddress);
  machine_.add_hidden_process(20, "S 1 1 1 0 -1 4194304");
  const GpuReading gpu = look_after("xe", 100, 700);
  EXPECT_EQ(gpu.busy_by_others, Share::of_millionths(700'000));
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("at least")));
}

TEST_F(SysfsGpu, TellsNobodysUseAtTheFirstLook) {
  add_amd();
  SysfsGpuSource source({.root = machine_.root(), .own_pid = kOwn}, clock_);
  const GpuReading gpu = look(source);
  EXPECT_EQ(gpu.busy, Share::of_millionths(900'000));
  EXPECT_EQ(gpu.busy_by_own, std::nullopt);
  EXPECT_EQ(gpu.busy_by_others, std::nullopt);
  EXPECT_THAT(gpu.notes, Contains(HasSubstr("two looks")));
}

TEST_F(SysfsGpu, LeavesUnknownWhatIsNoNumber) {
  const std::string card = add_amd();
  machine_.put(card + "/gpu_busy_percent", "lots\n");
  machine_.put(card + "/mem_info_vram_total", std::string(1 << 20, '9'));
  machine_.put(card + "/mem_info_vram_used", "-5\n");
  machine_.put(card + "/hwmon/hwmon3/temp1_input", "99999999999\n");
  SysfsGpuSource source({.root = machine_.root(), .own_pid = kOwn}, clock_);
  const GpuReading gpu = look(source);
  EXPECT_EQ(gpu.busy, std::nullopt);
  EXPECT_EQ(gpu.memory_total, std::nullopt);
  EXPECT_EQ(gpu.memory_used, std::nullopt);
  EXPECT_EQ(gpu.memory_free, std::nullopt);
  EXPECT_EQ(gpu.celsius, std::nullopt);
  EXPECT_THAT(gpu.notes, SizeIs(5)) << "and each says why";
}

TEST_F(SysfsGpu, ThatSaysMoreThanAHundredIsWhollyBusy) {
  machine_.put(add_amd() + "/gpu_busy_percent", "250\n");
  EXPECT_EQ(look_after("amdgpu", 0, 0).busy, Share::percent(100));
}

TEST_F(SysfsGpu, ThatSleepsIsIdleAndNotAsked) {
  const std::string card = add_amd();
  machine_.put(card + "/power/runtime_status", "suspended\n");
  const GpuReading gpu = look_after("amdgpu", 0, 0);
  EXPECT_EQ(gpu.busy, Share());
  EXPECT_EQ(gpu.busy_by_others, Share());
  EXPECT_EQ(gpu.memory_used, std::nullopt);
  EXPECT_EQ(gpu.celsius, std::nullopt);
  EXPECT_THAT(gpu.notes, ElementsAre(HasSubstr("sleeps")));
}

TEST_F(SysfsGpu, ThatIsGoneIsUnknownUntilItIsBack) {
  add_amd();
  SysfsGpuSource source({.root = machine_.root(), .own_pid = kOwn}, clock_);
  source.read();
  machine_.remove("sys/class/drm/card0");
  const SourceReading lost = source.read();
  ASSERT_THAT(lost.gpus, SizeIs(1));
  EXPECT_EQ(lost.gpus[0].memory_total, std::nullopt);
  EXPECT_THAT(lost.gpus[0].notes, ElementsAre(HasSubstr("no longer")));
  ASSERT_TRUE(lost.fault);
  EXPECT_EQ(lost.fault->code, ErrorCode::kUnavailable);
  add_amd();
  EXPECT_EQ(look(source).busy, Share::of_millionths(900'000));
  EXPECT_FALSE(source.read().fault);
}

TEST(DrmCards, AreThoseOfAmdAndIntelOnceEach) {
  GpuMachine machine;
  machine.add_card("card1", "i915", "0000:00:02.0");
  machine.add_card("card0", "amdgpu", kAddress);
  machine.add_card("card0-DP-1", "amdgpu", kAddress);
  machine.add_card("renderD128", "amdgpu", kAddress);
  machine.add_card("card2", "nvidia", "0000:04:00.0");
  machine.add_card("card3", "amdgpu", "");
  machine.add_card("card", "amdgpu", "0000:05:00.0");
  const std::vector<DrmCard> cards = find_drm_cards(machine.root());
  ASSERT_THAT(cards, SizeIs(2));
  EXPECT_EQ(cards[0].identity.id, "0000:00:02.0");
  EXPECT_EQ(cards[1].identity.id, kAddress);
}

TEST(DrmCards, OfAMachineWithoutGpusAreNone) {
  const ManualClock clock;
  const gogrid::testing::TemporaryFolder empty;
  SysfsGpuSource source({.root = empty.path(), .own_pid = kOwn}, clock);
  EXPECT_THAT(source.read().gpus, IsEmpty());
  EXPECT_FALSE(source.read().fault) << "to have no such GPU is no fault";
}

TEST(DrmCards, AreCalledWhatTheirMakerCallsThem) {
  GpuMachine machine;
  machine.put(machine.add_card("card0", "amdgpu", kAddress) + "/product_name", "Radeon Pro\n");
  EXPECT_EQ(find_drm_cards(machine.root()).at(0).identity.name, "Radeon Pro");
}

TEST(ReadNumber, TakesNothingButANumber) {
  GpuMachine machine;
  const auto read = [&](std::string_view text) {
    machine.put("number", std::string(text));
    return read_number(machine.root() / "number");
  };
  EXPECT_EQ(read("12\n").value(), 12);
  EXPECT_EQ(read("-40").value(), -40);
  for (const std::string_view text : {"", "\n", "12 34", "0x10", "1e3", "99999999999999999999"}) {
    EXPECT_EQ(read(text).error().code, ErrorCode::kCorrupt) << text;
  }
}

}  // namespace
}  // namespace gogrid

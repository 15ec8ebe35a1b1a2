#include "resource/machine_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "resource/fake_root.h"
#include "support/manual_clock.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// 2026-11-24 12:00 UTC, a Tuesday.
constexpr std::chrono::sys_seconds kNoon =
    std::chrono::sys_days(std::chrono::year(2026) / 11 / 24) + 12h;

class MachineWatchTest : public ::testing::Test {
 protected:
  MachineWatch& make(const std::vector<ScheduleEntry>& entries = {}) {
    WatchSources sources{
        .load = {.host = [this] { return host_; }, .gpu_of_others = [this] { return gpu_; }},
        .wall_clock = [this] { return wall_; },
        .zone =
            [] { return Result<const std::chrono::time_zone*>(std::chrono::locate_zone("UTC")); }};
    watch_.emplace(*policies_, governor_, *QuietHours::of(entries), std::move(sources), clock_);
    return *watch_;
  }
  void pass(std::chrono::seconds time) {
    clock_.advance(time);
    wall_ += time;
  }
  void change(const std::string& name, PolicyValue value) {
    const std::vector<PolicySetting> settings{{name, std::move(value)}};
    ASSERT_TRUE(policies_->change(settings, "test"));
  }

  testing::ManualClock clock_;
  const testing::TemporaryFolder folder_;
  std::chrono::sys_seconds wall_ = kNoon;
  HostLoad host_{.cpu = CpuLoad{},
                 .memory_of_others = Share(),
                 .pressure = {Pressure{}, Pressure{}, Pressure{}},
                 .power = Power{},
                 .heat = not_known("heat", "no zone")};
  Reading<Share> gpu_ = Share();
  Governor governor_{clock_};
  const std::unique_ptr<PolicyStore> policies_ = *PolicyStore::open(
      ResourcePolicy::of(ResourceMode::kBalanced), folder_.path() / "policy.json");
  std::optional<MachineWatch> watch_;
};

TEST_F(MachineWatchTest, PausesForTheLoadOfOthersAndResumesAfterIt) {
  auto& watch = make();
  watch.look();
  EXPECT_TRUE(governor_.runs());
  host_.cpu = CpuLoad{.others = Share::percent(83), .own = Share()};
  watch.look();
  EXPECT_FALSE(governor_.runs());
  EXPECT_EQ(governor_.state().why, "others use 83 % of the CPU (limit 70 %)");
  EXPECT_TRUE(governor_.state().until);
  host_.cpu = CpuLoad{};
  pass(29s);
  watch.look();
  EXPECT_FALSE(governor_.runs());
  pass(1s);
  watch.look();
  EXPECT_TRUE(governor_.runs());
}

TEST_F(MachineWatchTest, ALoadThatNobodyLooksAtAnyMoreDoesNotPauseForEver) {
  auto& watch = make();
  gpu_ = Share::percent(100);
  watch.look();
  EXPECT_FALSE(governor_.runs());
  pass(120s);
  EXPECT_TRUE(governor_.runs());
}

TEST_F(MachineWatchTest, PausesWhileThePolicyGivesNoTimeAtAllAndSaysSo) {
  make();
  change("max_compute", 0.0);
  EXPECT_FALSE(governor_.runs());
  EXPECT_EQ(governor_.state().why, "max_compute is 0");
  EXPECT_FALSE(governor_.state().until);
  change("max_compute", 0.5);
  EXPECT_TRUE(governor_.runs());
}

TEST_F(MachineWatchTest, PausesOnBatteryAndWhenTheMachineIsTooHot) {
  auto& watch = make();
  host_.power = Power{.on_battery = true, .charge = Share::percent(43)};
  watch.look();
  EXPECT_EQ(governor_.state().why, "on battery (43 %)");
  host_.heat = Heat{"cpu", 96'000, 95'000, true};
  host_.power = Power{};
  pass(30s);
  watch.look();
  EXPECT_THAT(governor_.state().why, HasSubstr("96 °C"));
  host_.heat = Heat{"cpu", 70'000, 95'000, false};
  pass(30s);
  watch.look();
  EXPECT_TRUE(governor_.runs());
}

// The kernel's own files, as a machine has them.
TEST_F(MachineWatchTest, ReadsMainsAndHeatFromTheKernelsFiles) {
  testing::FakeRoot root;
  HostLoadReader reader(root.path());
  auto& watch = make();
  const auto look = [&] {
    host_ = reader.read();
    watch.look();
  };
  root.put("sys/class/power_supply/AC/type", "Mains\n");
  root.put("sys/class/power_supply/AC/online", "1\n");
  root.put("sys/class/power_supply/BAT0/type", "Battery\n");
  root.put("sys/class/power_supply/BAT0/status", "Charging\n");
  root.put("sys/class/power_supply/BAT0/capacity", "61\n");
  root.put("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
  root.put("sys/class/thermal/thermal_zone0/temp", "60000\n");
  root.put("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n");
  root.put("sys/class/thermal/thermal_zone0/trip_point_0_temp", "95000\n");
  look();
  EXPECT_TRUE(governor_.runs());
  root.put("sys/class/power_supply/AC/online", "0\n");
  root.put("sys/class/power_supply/BAT0/status", "Discharging\n");
  look();
  EXPECT_EQ(governor_.state().why, "on battery (61 %)");
  root.put("sys/class/power_supply/AC/online", "1\n");
  root.put("sys/class/power_supply/BAT0/status", "Charging\n");
  root.put("sys/class/thermal/thermal_zone0/temp", "97000\n");
  pass(30s);
  look();
  EXPECT_THAT(governor_.state().why, HasSubstr("x86_pkg_temp is at 97 °C"));
  root.put("sys/class/thermal/thermal_zone0/temp", "80000\n");
  pass(30s);
  look();
  EXPECT_TRUE(governor_.runs());
}

TEST_F(MachineWatchTest, SaysWhyAlsoInTheTimeAfterIt) {
  auto& watch = make();
  host_.power = Power{.on_battery = true, .charge = Share::percent(43)};
  watch.look();
  host_.power = Power{};
  pass(10s);
  watch.look();
  EXPECT_EQ(governor_.state().why, "a moment ago: on battery (43 %)");
}

TEST_F(MachineWatchTest, GoesOnOnlyOnceItIsAMarginCooler) {
  auto& watch = make();
  host_.heat = Heat{"cpu", 95'000, 95'000, true};
  watch.look();
  host_.heat = Heat{"cpu", 94'000, 95'000, false};
  pass(10min);
  watch.look();
  EXPECT_EQ(governor_.state().why, "cpu is at 94 °C, its limit is 95 °C");
  host_.heat = Heat{"cpu", 92'000, 95'000, false};
  pass(30s);
  watch.look();
  EXPECT_TRUE(governor_.runs());
}

// As presence and a person's change may come together.
TEST_F(MachineWatchTest, OfChangesAtOnceTheLastOfEachStands) {
  auto& watch = make();
  host_.cpu = CpuLoad{.others = Share::percent(60), .own = Share()};
  for (int round = 0; round < 100; ++round) {
    {
      const std::jthread owner(
          [&] { watch.see({.state = PresenceState::kPresent, .since = {}, .why = {}}); });
      change("pause.cpu", round % 2 == 0 ? 0.9 : 0.8);
    }
    watch.look();
    ASSERT_FALSE(governor_.runs()) << "somebody is there: the limit is 50 %, in round " << round;
    watch.see({.state = PresenceState::kNobody, .since = {}, .why = {}});
    change("pause.enabled", false);
    watch.look();
    ASSERT_TRUE(governor_.runs());
    change("pause.enabled", true);
  }
}

TEST_F(MachineWatchTest, WhatPausesEndsWhenItIsSwitchedOff) {
  auto& watch = make();
  host_.power = Power{.on_battery = true, .charge = {}};
  host_.cpu = CpuLoad{.others = Share::percent(100), .own = Share()};
  watch.look();
  EXPECT_FALSE(governor_.runs());
  change("pause.enabled", false);
  watch.look();
  EXPECT_TRUE(governor_.runs());
}

TEST_F(MachineWatchTest, GivesWaySoonerWhileSomebodyIsThere) {
  auto& watch = make();
  host_.cpu = CpuLoad{.others = Share::percent(60), .own = Share()};
  watch.look();
  EXPECT_TRUE(governor_.runs());
  watch.see({.state = PresenceState::kPresent, .since = {}, .why = {}});
  watch.look();
  EXPECT_FALSE(governor_.runs());
  watch.see({.state = PresenceState::kLocked, .since = {}, .why = {}});
  pass(60s);
  watch.look();
  EXPECT_TRUE(governor_.runs());
}

TEST_F(MachineWatchTest, RestsInQuietHoursAndTakesTheirModes) {
  auto& watch = make({{.days = {}, .from = "13:00", .to = "14:00", .mode = "off"},
                      {.days = {}, .from = "14:00", .to = "15:00", .mode = "conservative"}});
  EXPECT_EQ(watch.look_at_schedule(), 1min);
  EXPECT_TRUE(governor_.runs());
  pass(59min + 30s);
  EXPECT_EQ(watch.look_at_schedule(), 30s);
  pass(30s);
  watch.look_at_schedule();
  EXPECT_FALSE(governor_.runs());
  EXPECT_EQ(governor_.state().why, "quiet hours");
  EXPECT_EQ(governor_.state().until, clock_.now() + 1h);
  pass(1h);
  watch.look_at_schedule();
  EXPECT_TRUE(governor_.runs());
  EXPECT_EQ(policies_->current()->mode, ResourceMode::kConservative);
  pass(1h);
  watch.look_at_schedule();
  EXPECT_EQ(policies_->current()->mode, ResourceMode::kBalanced);
}

TEST_F(MachineWatchTest, DoesNotFlapInAnHourOfRandomLoads) {
  auto& watch = make();
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    bool ran = governor_.runs();
    int changes = 0;
    std::optional<TimePoint> changed;
    for (const TimePoint end = clock_.now() + 1h; clock_.now() < end; pass(5s)) {
      host_.cpu = CpuLoad{.others = Share::percent(random() % 101), .own = Share()};
      gpu_ = Share::percent(random() % 90);
      watch.look();
      if (governor_.runs() == ran) continue;
      ran = !ran;
      ++changes;
      if (changed) {
        EXPECT_GE(clock_.now() - *changed, 30s);
      }
      changed = clock_.now();
    }
    EXPECT_GT(changes, 2);
    pass(2min);
    host_.cpu = CpuLoad{};
    gpu_ = Share();
    watch.look();
  }
}

TEST_F(MachineWatchTest, StartsAndStopsItsThreads) {
  auto& watch = make({{.days = {}, .from = "11:00", .to = "14:00", .mode = "off"}});
  ASSERT_TRUE(watch.start());
  EXPECT_FALSE(governor_.runs());
  while (watch.load() == nullptr) std::this_thread::sleep_for(1ms);
  watch.stop();
  watch.stop();
}

}  // namespace
}  // namespace gogrid

#include "resource/watch_decisions.h"

#include <gtest/gtest.h>

#include <random>

namespace gogrid {
namespace {

using namespace std::chrono_literals;

const PausePolicy kPolicy = ResourcePolicy::of(ResourceMode::kBalanced).pause;  // 30 s
const std::string kHot = "too hot";
TimePoint at(Duration since_start) { return TimePoint(1h + since_start); }

TEST(Presence, OfSomebodyMakesNoLimitLaxerThanTheConservativeOnes) {
  const PausePolicy quiet = ResourcePolicy::of(ResourceMode::kConservative).pause;
  for (const auto mode : {ResourceMode::kBalanced, ResourceMode::kAggressive}) {
    const PausePolicy policy = ResourcePolicy::of(mode).pause;
    const PausePolicy present = with_presence(policy, PresenceState::kPresent);
    EXPECT_EQ(present.cpu, quiet.cpu);
    EXPECT_EQ(present.gpu, quiet.gpu);
    EXPECT_EQ(present.memory, quiet.memory);
    EXPECT_EQ(present.check, quiet.check);
    EXPECT_EQ(present.pause, quiet.pause);
    EXPECT_EQ(present.enabled, policy.enabled);
    for (const auto state : {PresenceState::kIdle, PresenceState::kLocked, PresenceState::kNobody,
                             PresenceState::kUnknown})
      EXPECT_EQ(with_presence(policy, state), policy);
  }
  PausePolicy strict = quiet;
  strict.cpu = Share::percent(10);
  EXPECT_EQ(with_presence(strict, PresenceState::kPresent).cpu, Share::percent(10));
}

TEST(Condition, PausesAtOnceAndForAPeriodAfterItWasLastSeen) {
  ConditionState state;
  state = decide_condition(state, kPolicy, kHot, at(0s));
  EXPECT_TRUE(state.paused);
  state = decide_condition(state, kPolicy, kHot, at(20s));
  state = decide_condition(state, kPolicy, "", at(49s));
  EXPECT_TRUE(state.paused);
  state = decide_condition(state, kPolicy, "", at(50s));
  EXPECT_FALSE(state.paused);
}

TEST(Condition, ThatComesBackAtOnceWaitsForAPeriod) {
  ConditionState state = decide_condition({}, kPolicy, kHot, at(0s));
  state = decide_condition(state, kPolicy, "", at(30s));
  ASSERT_FALSE(state.paused);
  EXPECT_FALSE(decide_condition(state, kPolicy, kHot, at(59s)).paused);
  EXPECT_TRUE(decide_condition(state, kPolicy, kHot, at(60s)).paused);
}

TEST(Condition, EndsAtOnceWhenSwitchedOff) {
  PausePolicy off = kPolicy;
  off.enabled = false;
  const ConditionState state = decide_condition({}, kPolicy, kHot, at(0s));
  EXPECT_FALSE(decide_condition(state, off, kHot, at(1s)).paused);
  EXPECT_FALSE(decide_condition({}, off, kHot, at(0s)).paused);
}

TEST(Condition, DoesNotFlapInAnHourOfChance) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    ConditionState state;
    std::optional<TimePoint> changed;
    for (Duration t{0}; t < 1h; t += std::chrono::milliseconds(random() % 8000)) {
      const ConditionState next =
          decide_condition(state, kPolicy, random() % 3 == 0 ? kHot : "", at(t));
      if (next.paused != state.paused) {
        if (changed) {
          EXPECT_GE(at(t) - *changed, kPolicy.pause);
        }
        changed = at(t);
      }
      state = next;
    }
    EXPECT_TRUE(changed);
  }
}

TEST(GpuOfOthers, IsThatOfTheGpuTheyUseMost) {
  GpuReadings readings;
  EXPECT_EQ(gpu_of_others(readings).error(), "no GPU found");
  readings.faults.push_back({ErrorCode::kNotFound, "libnvidia-ml.so.1 not found", {}, {}});
  EXPECT_EQ(gpu_of_others(readings).error(), "libnvidia-ml.so.1 not found");
  for (const int percent : {20, 70}) {
    GpuReading gpu;
    gpu.busy_by_others = Share::percent(static_cast<std::uint64_t>(percent));
    readings.gpus.push_back(gpu);
  }
  readings.gpus.emplace_back().notes = {"asleep"};
  EXPECT_EQ(gpu_of_others(readings), Share::percent(70));
}

TEST(Faults, SayWhatTheyAreAndNothingOfWhatIsNotKnown) {
  EXPECT_EQ(power_fault(Power{}), "");
  EXPECT_EQ(power_fault(not_known("power", "no file")), "");
  EXPECT_EQ(power_fault(Power{.on_battery = true, .charge = {}}), "on battery");
  EXPECT_EQ(power_fault(Power{.on_battery = true, .charge = Share::percent(43)}),
            "on battery (43 %)");
  for (const bool paused : {false, true}) {
    EXPECT_EQ(heat_fault(not_known("heat", "no zone"), paused), "");
    EXPECT_EQ(heat_fault(Heat{"cpu", 60'000, 95'000, false}, paused), "");
    EXPECT_EQ(heat_fault(Heat{"cpu", 96'500, 95'000, true}, paused),
              "cpu is at 96 °C, its limit is 95 °C");
  }
}

TEST(Heat, OnceTooMuchMustFallAMarginBelowTheLimit) {
  const auto at_degrees = [](Millidegrees now) { return Heat{"cpu", now, 95'000, now >= 95'000}; };
  EXPECT_EQ(heat_fault(at_degrees(94'999), false), "");
  EXPECT_EQ(heat_fault(at_degrees(94'999), true), "cpu is at 94 °C, its limit is 95 °C");
  EXPECT_NE(heat_fault(at_degrees(95'000 - kCooler + 1), true), "");
  EXPECT_EQ(heat_fault(at_degrees(95'000 - kCooler), true), "");
}

TEST(Unwatched, NamesEachWithItsReasonAndNothingWhereAllIsSeen) {
  LoadView view{.decision = {},
                .host = {.cpu = CpuLoad{},
                         .memory_of_others = Share(),
                         .pressure = {},
                         .power = Power{},
                         .heat = Heat{"cpu", 60'000, 95'000, false}},
                .gpu_of_others = Share()};
  EXPECT_EQ(unwatched(view), "");
  view.decision.unknown = {"gpu: no GPU found"};
  view.host.power = not_known("power", "no folder");
  view.host.heat = not_known("heat", "no zone");
  EXPECT_EQ(unwatched(view),
            "gpu: no GPU found; power: [load] power: no folder; heat: [load] heat: no zone");
}

}  // namespace
}  // namespace gogrid

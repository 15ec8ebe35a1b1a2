#include "resource/load_decision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace gogrid {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// CPU above 0.7, GPU 0.8, memory 0.9; looks every 5 s, pauses for 30 s.
const PausePolicy kPolicy = ResourcePolicy::of(ResourceMode::kBalanced).pause;

OthersLoad load(double cpu, double gpu = 0, double memory = 0) {
  return {.cpu = *Share::of(cpu), .gpu = *Share::of(gpu), .memory = *Share::of(memory)};
}

constexpr TimePoint at(Duration time) { return TimePoint(1h + time); }

// Looks one after the other.
struct Looks {
  const LoadDecision& see(const OthersLoad& load, Duration time) {
    return last = decide(last, policy, load, at(time));
  }
  bool paused() const { return last.state == LoadState::kPaused; }
  PausePolicy policy = kPolicy;
  LoadDecision last;
};

TEST(LoadDecision, PausesAtTheFirstLookThatFindsALoadAndSaysWhichAndUntilWhen) {
  Looks looks;
  looks.see(load(0.2), 0s);
  EXPECT_FALSE(looks.paused());
  EXPECT_THAT(looks.last.why, IsEmpty());
  looks.see(load(0.83), 5s);
  EXPECT_TRUE(looks.paused());
  EXPECT_EQ(looks.last.why, "others use 83 % of the CPU (limit 70 %)");
  EXPECT_EQ(looks.last.until, at(35s));
  EXPECT_EQ(looks.last.changed_at, at(5s));
  EXPECT_EQ(looks.last.looked_at, at(5s));
}

TEST(LoadDecision, PausesForEachKindOfLoadAndNamesAll) {
  EXPECT_EQ(Looks().see(load(0, 0.95), 0s).why, "others use 95 % of the GPU (limit 80 %)");
  EXPECT_EQ(Looks().see(load(0, 0, 1), 0s).why, "others use 100 % of the memory (limit 90 %)");
  EXPECT_EQ(Looks().see(load(0.71, 0.81, 0.91), 0s).why,
            "others use 71 % of the CPU (limit 70 %), 81 % of the GPU (limit 80 %), 91 % of the "
            "memory (limit 90 %)");
}

TEST(LoadDecision, DoesNotPauseAtTheLimitItself) {
  EXPECT_EQ(Looks().see(load(0.7, 0.8, 0.9), 0s).state, LoadState::kRunning);
}

TEST(LoadDecision, ShowsAsManyDecimalsAsTheComparisonNeeds) {
  EXPECT_EQ(Looks().see(load(0.700001), 0s).why,
            "others use 70.0001 % of the CPU (limit 70.0000 %)");
  Looks looks;
  looks.policy.cpu = *Share::of(0.125);
  EXPECT_EQ(looks.see(load(0.1264), 0s).why, "others use 12.6 % of the CPU (limit 12.5 %)");
}

TEST(LoadDecision, ExtendsWhileTheLoadLastsAndGoesOnByItself) {
  Looks looks;
  looks.see(load(0.8), 0s);
  looks.see(load(0.8), 20s);
  EXPECT_EQ(looks.last.until, at(50s));
  looks.see(load(0.1), 25s);
  EXPECT_TRUE(looks.paused());
  EXPECT_EQ(looks.last.until, at(50s));
  EXPECT_EQ(looks.last.why, "others use 80 % of the CPU (goes on at 63 %)") << "what last kept it";
  looks.see(load(0.1), 50s - 1ns);
  EXPECT_TRUE(looks.paused());
  looks.see(load(0.1), 50s);
  EXPECT_FALSE(looks.paused());
  EXPECT_THAT(looks.last.why, IsEmpty());
}

TEST(LoadDecision, StaysPausedBetweenTheTwoLevels) {
  Looks looks;
  looks.see(load(0.71), 0s);
  looks.see(load(0.64), 30s);
  EXPECT_TRUE(looks.paused());
  EXPECT_EQ(looks.last.why, "others use 64 % of the CPU (goes on at 63 %)");
  looks.see(load(0.63), 60s);
  EXPECT_FALSE(looks.paused());
  looks.see(load(0.69), 120s);
  EXPECT_FALSE(looks.paused()) << "the same load does not begin a pause";
}

TEST(LoadDecision, ALoadThatIsBackSoonerThanThePauseWaits) {
  Looks looks;
  looks.see(load(0.8), 0s);
  looks.see(load(0.1), 30s);
  looks.see(load(0.9), 35s);
  EXPECT_FALSE(looks.paused());
  EXPECT_EQ(looks.last.why, "others use 90 % of the CPU (limit 70 %)");
  EXPECT_EQ(looks.last.until, at(60s)) << "when it may pause";
  looks.see(load(0.9), 60s - 1ns);
  EXPECT_FALSE(looks.paused());
  looks.see(load(0.9), 60s);
  EXPECT_TRUE(looks.paused());
}

TEST(LoadDecision, WhatIsUnknownIsNamedAndNeverPauses) {
  const OthersLoad blind{.cpu = not_known("CPU", "this is the first look"),
                         .gpu = not_known("GPU", "no driver"),
                         .memory = *Share::of(0.5)};
  Looks looks;
  looks.see(blind, 0s);
  EXPECT_FALSE(looks.paused());
  EXPECT_THAT(looks.last.unknown,
              ElementsAre("cpu: [load] CPU: this is the first look", "gpu: [load] GPU: no driver"));
  looks.see(load(0.8), 5s);
  EXPECT_THAT(looks.last.unknown, IsEmpty());
  looks.see(blind, 10s);
  EXPECT_EQ(looks.last.until, at(35s)) << "nor does it extend";
  looks.see(blind, 35s);
  EXPECT_FALSE(looks.paused());
}

TEST(LoadDecision, AKnownLoadPausesBesideUnknownOnes) {
  const OthersLoad half_blind{
      .cpu = not_known("CPU", "x"), .gpu = not_known("GPU", "x"), .memory = *Share::of(0.95)};
  EXPECT_EQ(Looks().see(half_blind, 0s).state, LoadState::kPaused);
}

TEST(LoadDecision, SwitchedOffRunsAtOnceAndSwitchedOnPausesAtOnce) {
  Looks looks;
  looks.see(load(0.8), 0s);
  looks.policy.enabled = false;
  looks.see(load(0.8), 1s);
  EXPECT_FALSE(looks.paused());
  EXPECT_THAT(looks.last.why, IsEmpty());
  looks.policy.enabled = true;
  looks.see(load(0.8), 2s);
  EXPECT_TRUE(looks.paused());
}

TEST(LoadDecision, FollowsAPolicyThatChangesDuringThePause) {
  Looks looks;
  looks.see(load(0.8), 0s);
  looks.policy.pause = 6s;
  looks.see(load(0.1), 5s);
  EXPECT_EQ(looks.last.until, at(11s));
  looks.policy.cpu = *Share::of(0.05);
  looks.see(load(0.1), 11s);
  EXPECT_TRUE(looks.paused());
  looks.policy.cpu = *Share::of(0.95);
  looks.see(load(0.8), 17s);
  EXPECT_FALSE(looks.paused());
}

TEST(LoadDecision, APauseShorterThanALookLastsUntilTheNext) {
  Looks looks;
  looks.policy.pause = 0s;
  looks.see(load(0.8), 0s);
  EXPECT_TRUE(looks.paused());
  EXPECT_EQ(looks.last.until, at(5s));
  looks.see(load(0.8), 5s);
  EXPECT_TRUE(looks.paused());
}

TEST(LoadDecision, AShareOfOneNeverPausesAndOneOfZeroPausesForAnyLoad) {
  Looks looks;
  looks.policy.cpu = *Share::of(1.0);
  looks.see(load(1.0), 0s);
  EXPECT_FALSE(looks.paused());
  looks.policy.cpu = Share();
  looks.see(load(0.000001), 5s);
  EXPECT_TRUE(looks.paused());
  looks.see(load(0), 35s);
  EXPECT_FALSE(looks.paused());
}

TEST(ResumeLevel, IsBelowTheLevelThatPauses) {
  EXPECT_EQ(resume_level(*Share::of(0.7)), *Share::of(0.63));
  EXPECT_EQ(resume_level(Share()), Share());
  EXPECT_EQ(resume_level(Share::of_millionths(1)), Share());
  for (std::uint32_t millionths = 1; millionths <= Share::kWhole; ++millionths) {
    const Share share = Share::of_millionths(millionths);
    ASSERT_LT(resume_level(share), share);
    ASSERT_LE(resume_level(Share::of_millionths(millionths - 1)), resume_level(share));
  }
}

// Random loads: jumps, slow walks around the limits, and looks that fail.
class RandomLoad {
 public:
  explicit RandomLoad(std::uint32_t seed) : random_(seed) {}
  OthersLoad next() { return {.cpu = one(cpu_), .gpu = one(gpu_), .memory = one(memory_)}; }

 private:
  Reading<Share> one(double& level) {
    const double dice = uniform_(random_);
    if (dice < 0.05) return not_known("random", "a look that failed");
    if (dice < 0.2) level = uniform_(random_);
    level = std::clamp(level + (uniform_(random_) - 0.5) * 0.1, 0.0, 1.0);
    return *Share::of(level);
  }
  std::mt19937 random_;
  std::uniform_real_distribution<double> uniform_{0, 1};
  double cpu_ = 0.5;
  double gpu_ = 0.5;
  double memory_ = 0.5;
};

bool is_above(const OthersLoad& load, const PausePolicy& policy, bool paused) {
  const auto over = [&](const Reading<Share>& share, Share limit) {
    return share && *share > (paused ? resume_level(limit) : limit);
  };
  return over(load.cpu, policy.cpu) || over(load.gpu, policy.gpu) ||
         over(load.memory, policy.memory);
}

// One look against the one before, by the rules in words.
void expect_lawful(const LoadDecision& before, const LoadDecision& after, const OthersLoad& load,
                   TimePoint now) {
  const bool was = before.state == LoadState::kPaused;
  const bool is = after.state == LoadState::kPaused;
  const bool over = is_above(load, kPolicy, was);
  const bool may_change = !before.changed_at || now - *before.changed_at >= kPolicy.pause;
  if (was != is) {
    ASSERT_TRUE(may_change) << "a second change within one pause period";
    ASSERT_EQ(over, is) << "pauses for a load only, goes on without one only";
  } else if (!was) {
    ASSERT_FALSE(over && may_change) << "a load that was let pass";
  } else {
    ASSERT_TRUE(over || now < after.until) << "did not go on";
  }
  if (is) {
    ASSERT_FALSE(after.why.empty());
    ASSERT_GT(after.until, now);
  }
}

TEST(LoadDecision, AnHourOfRandomLoadsMakesNoFlapping) {
  int changes = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    RandomLoad random(seed);
    std::mt19937 jitter(seed);
    LoadDecision last;
    for (TimePoint now = at(0s); now < at(1h);
         now += kPolicy.check + std::chrono::milliseconds(jitter() % 200)) {
      const OthersLoad load = random.next();
      const LoadDecision next = decide(last, kPolicy, load, now);
      ASSERT_NO_FATAL_FAILURE(expect_lawful(last, next, load, now)) << "seed " << seed;
      changes += next.state != last.state ? 1 : 0;
      last = next;
    }
  }
  EXPECT_GT(changes, 200 * 10) << "the loads go up and down";
}

}  // namespace
}  // namespace gogrid

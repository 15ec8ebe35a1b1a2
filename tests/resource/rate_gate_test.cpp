#include "resource/rate_gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "support/slowness.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;

constexpr Rate kRate{.interval = 50ms};
constexpr TimePoint kNever = TimePoint::max();
TimePoint at(Duration since_start) { return TimePoint(100h + since_start); }

// Empty: at once.
std::optional<TimePoint> turn_of(const RateGate::Answer& answer) {
  return answer->has_value() ? std::optional((*answer)->at()) : std::nullopt;
}

void expect_counts(const RateGate& gate, const GateCounts& expected) {
  const GateCounts counts = gate.counts();
  EXPECT_EQ(counts.seen, expected.seen);
  EXPECT_EQ(counts.granted, expected.granted);
  EXPECT_EQ(counts.delayed, expected.delayed);
  EXPECT_EQ(counts.refused, expected.refused);
  EXPECT_EQ(counts.waiting, expected.waiting);
}

TEST(RateGate, LetsTheFirstThroughAndGivesTheOthersTurnsInTheOrderTheyCame) {
  RateGate gate(100);
  EXPECT_EQ(turn_of(gate.ask(at(0ms), kRate, kNever)), std::nullopt);
  std::vector<RateGate::Answer> waits;
  for (int i = 1; i <= 5; ++i) {
    waits.push_back(gate.ask(at(0ms), kRate, kNever));
    EXPECT_EQ(turn_of(waits.back()), at(i * 50ms));
  }
}

TEST(RateGate, HundredAtOnceTakeNinetyNineIntervals) {
  RateGate gate(100);
  std::vector<RateGate::Answer> answers;
  for (int i = 0; i < 100; ++i) answers.push_back(gate.ask(at(0ms), kRate, kNever));
  EXPECT_EQ(turn_of(answers.back()), at(4950ms));
  expect_counts(gate, {.seen = 100, .granted = 1, .waiting = 99});
  for (auto& answer : answers) {
    if (answer->has_value()) (*answer)->go();
  }
  expect_counts(gate, {.seen = 100, .granted = 100, .delayed = 99});
}

TEST(RateGate, CountsEachEndOnce) {
  RateGate gate(100);
  auto first = gate.ask(at(0ms), kRate, kNever);
  auto goes = gate.ask(at(0ms), kRate, kNever);
  auto leaves = gate.ask(at(0ms), kRate, kNever);
  EXPECT_EQ(gate.ask(at(0ms), kRate, at(10ms)).error(), RateGate::Refusal::kTooLong);
  expect_counts(gate, {.seen = 4, .granted = 1, .refused = 1, .waiting = 2});
  (*goes)->go();
  (*goes)->go();
  expect_counts(gate, {.seen = 4, .granted = 2, .delayed = 1, .refused = 1, .waiting = 1});
  leaves = std::unexpected(RateGate::Refusal::kClosed);
  goes = std::unexpected(RateGate::Refusal::kClosed);
  expect_counts(gate, {.seen = 4, .granted = 2, .delayed = 1, .refused = 2});
}

TEST(RateGate, WhoLeavesLastGivesTheTurnToTheNextAndWhoLeavesBeforeOthersLosesIt) {
  RateGate gate(100);
  (void)gate.ask(at(0ms), kRate, kNever);
  std::optional<RateGate::Answer> early = gate.ask(at(0ms), kRate, kNever);  // 50 ms
  std::optional<RateGate::Answer> late = gate.ask(at(0ms), kRate, kNever);   // 100 ms
  early.reset();
  late.reset();
  EXPECT_EQ(turn_of(gate.ask(at(0ms), kRate, kNever)), at(100ms));
}

TEST(RateGate, AMovedWaitIsOneWait) {
  RateGate gate(100);
  (void)gate.ask(at(0ms), kRate, kNever);
  auto answer = gate.ask(at(0ms), kRate, kNever);
  {
    RateGate::Wait wait = std::move(**answer);
    expect_counts(gate, {.seen = 2, .granted = 1, .waiting = 1});
    RateGate::Wait other = std::move(wait);
    other.go();
  }
  expect_counts(gate, {.seen = 2, .granted = 2, .delayed = 1});
}

TEST(RateGate, BoundsHowManyWait) {
  RateGate gate(2);
  (void)gate.ask(at(0ms), kRate, kNever);
  auto one = gate.ask(at(0ms), kRate, kNever);
  auto two = gate.ask(at(0ms), kRate, kNever);
  EXPECT_EQ(gate.ask(at(0ms), kRate, kNever).error(), RateGate::Refusal::kTooMany);
  (*one)->go();
  EXPECT_EQ(turn_of(gate.ask(at(50ms), kRate, kNever)), at(150ms));  // the refused one took none
}

TEST(RateGate, TurnsThatWereLostDoNotCrowdOutEverybodyForLong) {
  RateGate gate(10);
  (void)gate.ask(at(0ms), kRate, kNever);
  for (int i = 0; i < 1000; ++i) {  // each leaves behind another: its turn is lost
    auto leaves = gate.ask(at(0ms), kRate, kNever);
    auto stays = gate.ask(at(0ms), kRate, kNever);
    leaves = std::unexpected(RateGate::Refusal::kClosed);
  }
  EXPECT_LE(turn_of(gate.ask(at(500ms), kRate, kNever)).value_or(at(0ms)), at(1s));
}

TEST(RateGate, WithoutALimitNobodyIsTooMany) {
  RateGate gate(0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(turn_of(gate.ask(at(0ms), {}, kNever)), std::nullopt);
}

TEST(RateGate, ClosedRefusesNewcomersAndLetsWaitersGo) {
  RateGate gate(100);
  (void)gate.ask(at(0ms), kRate, kNever);
  auto waiting = gate.ask(at(0ms), kRate, kNever);
  gate.close();
  EXPECT_EQ(gate.ask(at(0ms), kRate, kNever).error(), RateGate::Refusal::kClosed);
  (*waiting)->go();
  expect_counts(gate, {.seen = 3, .granted = 2, .delayed = 1, .refused = 1});
}

TEST(RateGate, TurnsTakenAnewAreThoseOfTheNewRateFromTheLastThatWasUsedOn) {
  RateGate gate(100);
  const Rate slow{.interval = 60s};
  (void)gate.ask(at(0ms), slow, kNever);
  std::vector<RateGate::Wait> waits;
  for (int i = 0; i < 3; ++i) waits.push_back(**gate.ask(at(0ms), slow, kNever));
  const auto take_anew = [&](TimePoint now, Rate rate, TimePoint latest) {
    for (auto wait = waits.rbegin(); wait != waits.rend(); ++wait) wait->give_back();
    std::vector<bool> taken;
    for (RateGate::Wait& wait : waits) taken.push_back(wait.retake(now, rate, latest));
    return taken;
  };
  EXPECT_EQ(take_anew(at(10ms), kRate, kNever), std::vector<bool>(3, true));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(waits[static_cast<std::size_t>(i)].at(), at((i + 1) * 50ms));
  EXPECT_EQ(take_anew(at(20ms), {.interval = 1s}, at(1s)), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(waits[0].at(), at(1s));
  expect_counts(gate, {.seen = 4, .granted = 1, .waiting = 3});
  waits.clear();
  expect_counts(gate, {.seen = 4, .granted = 1, .refused = 3});
  // All were given back: the next turn is an interval after the one that was used.
  EXPECT_EQ(turn_of(gate.ask(at(20ms), kRate, kNever)), at(50ms));
}

// Beside newcomers a turn may be lost, but none is had twice.
TEST(RateGate, TurnsTakenAnewAreNeverMoreThanTheRate) {
  RateGate gate(1'000'000);
  const int each = 40'000 / testing::kSlowness;
  std::vector<TimePoint> used[2];
  const auto client = [&](unsigned seed) {
    std::minstd_rand random(seed);
    auto& mine = used[seed - 1];
    std::vector<RateGate::Wait> waits;
    for (int i = 0; i < each; ++i) {
      const TimePoint now = at(i * 1us);
      auto answer = gate.ask(now, {.interval = 1us}, kNever);
      if (!answer->has_value()) mine.push_back(now);
      if (answer->has_value()) waits.push_back(*std::move(*answer));
      if (waits.size() < 8) continue;
      for (auto wait = waits.rbegin(); wait != waits.rend(); ++wait) wait->give_back();
      for (RateGate::Wait& wait : waits) ASSERT_TRUE(wait.retake(now, {.interval = 1us}, kNever));
      for (RateGate::Wait& wait : waits) {
        if (random() % 4 == 0) continue;
        mine.push_back(wait.at());
        wait.go();
      }
      waits.clear();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned seed = 1; seed <= 2; ++seed) threads.emplace_back(client, seed);
  }
  std::vector<TimePoint> all = used[0];
  all.insert(all.end(), used[1].begin(), used[1].end());
  std::ranges::sort(all);
  for (std::size_t i = 1; i < all.size(); ++i) ASSERT_GE(all[i] - all[i - 1], 1us) << i;
  EXPECT_GT(all.size(), static_cast<std::size_t>(each));
}

// Whatever threads do, at every moment: nothing is lost, nothing counted twice.
TEST(RateGate, CountsAddUpAtEveryMoment) {
  RateGate gate(1'000'000);
  const int each = 400'000 / testing::kSlowness;
  std::atomic<int> running{3};
  std::atomic<std::uint64_t> at_once{0};
  std::atomic<std::uint64_t> went{0};
  const auto client = [&](unsigned seed) {
    std::minstd_rand random(seed);
    std::vector<RateGate::Wait> waits;
    for (int i = 0; i < each; ++i) {
      auto answer = gate.ask(at(i * 1us), {.interval = 1us}, at(i * 1us + 1ms));
      if (answer && !answer->has_value()) ++at_once;
      if (answer && answer->has_value()) waits.push_back(*std::move(*answer));
      if (waits.size() < 16) continue;
      for (std::size_t w = 0; w < 8; ++w) waits[w].go();
      went += 8;
      waits.erase(waits.begin(), waits.begin() + static_cast<std::ptrdiff_t>(8 + random() % 9));
    }
    waits.clear();
    --running;
  };
  std::vector<std::jthread> threads;
  for (unsigned seed = 1; seed <= 3; ++seed) threads.emplace_back(client, seed);
  std::uint64_t looks = 0;
  std::uint64_t before = 0;
  for (; running > 0; ++looks) {
    const GateCounts counts = gate.counts();
    ASSERT_EQ(counts.seen, counts.granted + counts.refused + counts.waiting);
    ASSERT_LE(counts.waiting, 3U * 17U);  // as many as ever do
    ASSERT_GE(counts.seen, before);
    before = counts.seen;
  }
  const GateCounts counts = gate.counts();
  EXPECT_EQ(counts.seen, 3U * static_cast<unsigned>(each));
  EXPECT_EQ(counts.waiting, 0U);
  EXPECT_EQ(counts.delayed, went);
  EXPECT_EQ(counts.granted, at_once + went);
  EXPECT_GT(looks, 0U);
}

TEST(RateGate, AWaitThatTakesAnothersPlaceGivesItsOwnTurnUpAtOnce) {
  RateGate gate(10);
  const Rate rate{.interval = std::chrono::hours(1)};
  const TimePoint now{std::chrono::hours(1)};
  ASSERT_TRUE(gate.ask(now, rate, TimePoint::max()));
  auto first = **gate.ask(now, rate, TimePoint::max());
  auto second = **gate.ask(now, rate, TimePoint::max());
  first = std::move(second);
  EXPECT_EQ(gate.counts().waiting, 1U);
  EXPECT_EQ(gate.counts().refused, 1U);
  EXPECT_EQ(first.at(), now + std::chrono::hours(2));
}

}  // namespace
}  // namespace gogrid

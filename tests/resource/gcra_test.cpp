#include "resource/gcra.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "support/interleavings.h"
#include "support/slowness.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;
using testing::Schedule;

constexpr Rate kRate{.interval = 50ms};
constexpr TimePoint kNever = TimePoint::max();

TimePoint at(Duration since_start) { return TimePoint(100h + since_start); }

// Over any stretch of time no more turns than the rate allows.
void expect_within(std::vector<TimePoint> turns, Rate rate) {
  std::ranges::sort(turns);
  for (std::size_t i = rate.burst; i < turns.size(); ++i) {
    ASSERT_GE(turns[i] - turns[i - rate.burst], rate.interval) << i;
  }
}

TEST(Gcra, TheFirstGoesAtOnceAndEachNextAnIntervalLater) {
  Gcra gcra;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(gcra.take(at(0ms), kRate, kNever)->at, at(i * 50ms));
}

TEST(Gcra, ARestIsNotSavedUp) {
  Gcra gcra;
  (void)gcra.take(at(0ms), kRate, kNever);
  EXPECT_EQ(gcra.take(at(1h), kRate, kNever)->at, at(1h));
  EXPECT_EQ(gcra.take(at(1h), kRate, kNever)->at, at(1h + 50ms));
}

TEST(Gcra, ABurstGoesAtOnceAfterARestAndNoMore) {
  Gcra gcra;
  const Rate rate{.interval = 50ms, .burst = 3};
  for (int round = 0; round < 3; ++round) {
    const Duration start = round * 1h;
    for (const Duration later : {0ms, 0ms, 0ms, 50ms, 100ms}) {
      EXPECT_EQ(gcra.take(at(start), rate, kNever)->at, at(start + later));
    }
  }
}

TEST(Gcra, AnIntervalOfNothingLimitsNothing) {
  Gcra gcra;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(gcra.take(at(0ms), {}, at(0ms))->at, at(0ms));
  EXPECT_EQ(gcra.take(at(0ms), kRate, at(0ms))->at, at(0ms));
}

TEST(Gcra, ATurnThatWouldComeTooLateIsNotTaken) {
  Gcra gcra;
  (void)gcra.take(at(0ms), kRate, kNever);
  EXPECT_FALSE(gcra.take(at(0ms), kRate, at(49ms)));
  EXPECT_FALSE(gcra.take(at(0ms), kRate, at(49ms)));
  EXPECT_EQ(gcra.take(at(0ms), kRate, at(50ms))->at, at(50ms));
}

TEST(Gcra, TheLastTurnCanBeGivenBackAndAnEarlierOneIsLost) {
  Gcra gcra;
  const auto first = *gcra.take(at(0ms), kRate, kNever);
  const auto second = *gcra.take(at(0ms), kRate, kNever);
  EXPECT_FALSE(gcra.give_back(first));
  EXPECT_TRUE(gcra.give_back(second));
  EXPECT_FALSE(gcra.give_back(second));
  EXPECT_EQ(gcra.take(at(0ms), kRate, kNever)->at, at(50ms));
}

TEST(Gcra, ATurnWithoutALimitIsNotGivenBack) {
  Gcra gcra;
  const auto free = *gcra.take(at(0ms), {}, kNever);
  (void)gcra.take(at(0ms), kRate, kNever);
  EXPECT_FALSE(gcra.give_back(free));
  EXPECT_EQ(gcra.take(at(0ms), kRate, kNever)->at, at(50ms));
}

TEST(Gcra, ARateMayChangeFromCallToCall) {
  Gcra gcra;
  (void)gcra.take(at(0ms), {.interval = 10s}, kNever);
  EXPECT_EQ(gcra.take(at(0ms), kRate, kNever)->at, at(50ms));
  EXPECT_EQ(gcra.take(at(0ms), {.interval = 10s}, kNever)->at, at(10s + 50ms));
}

TEST(Gcra, AbsurdRatesAndTimesDoNotOverflow) {
  for (const Duration interval : {Duration::max(), Duration::min(), Duration(1), Duration(-1)}) {
    for (const std::uint32_t burst : {0U, 1U, 4'000'000'000U}) {
      Gcra gcra;
      const Rate rate{.interval = interval, .burst = burst};
      TimePoint last = at(0ms);
      for (int i = 0; i < 200'000; ++i) {
        const auto turn = gcra.take(at(0ms), rate, kNever);
        if (!turn) break;  // the end of time
        ASSERT_GE(turn->at, last);
        last = turn->at;
      }
    }
  }
}

// Each thread takes a turn and one gives its own back, in every order: the turns that are used, and
// one more after them, are an interval apart.
TEST(Gcra, NeverGrantsMoreThanTheRateInAnyInterleaving) {
  const auto count = testing::for_each_interleaving([](Schedule& schedule) {
    BasicGcra<testing::SteppedAtomic> gcra;
    std::vector<TimePoint> used(3);
    schedule.run({
        [&] { used[0] = gcra.take(at(0ms), kRate, kNever)->at; },
        [&] { used[1] = gcra.take(at(20ms), kRate, kNever)->at; },
        [&] {
          const auto turn = *gcra.take(at(10ms), kRate, kNever);
          used[2] = gcra.give_back(turn) ? TimePoint::min() : turn.at;
        },
    });
    if (used[2] == TimePoint::min()) used.pop_back();
    used.push_back(gcra.take(at(30ms), kRate, kNever)->at);
    expect_within(used, kRate);
  });
  EXPECT_GT(count, 200U);
}

// Plainly written: all turns so far, looked at each time.
class Reference {
 public:
  std::optional<TimePoint> take(TimePoint now, Rate rate, TimePoint latest) {
    TimePoint turn = now;
    while (!allows(turn, rate)) turn += Duration(1ms);
    if (turn > latest) return std::nullopt;
    used_.push_back(turn);
    return turn;
  }
  void give_back(TimePoint turn) {
    if (!used_.empty() && used_.back() == turn) used_.pop_back();
  }

 private:
  bool allows(TimePoint turn, Rate rate) const {
    return used_.empty() || turn >= used_.back() + rate.interval;
  }
  std::vector<TimePoint> used_;
};

TEST(Gcra, DoesWhatAPlainReferenceDoes) {
  std::mt19937 random(1);
  for (int run = 0; run < 200; ++run) {
    Gcra gcra;
    Reference reference;
    Duration now{0};
    for (int i = 0; i < 200; ++i) {
      now += std::chrono::milliseconds(random() % 100);
      const TimePoint latest = at(now) + std::chrono::milliseconds(random() % 300);
      const auto turn = gcra.take(at(now), kRate, latest);
      const auto expected = reference.take(at(now), kRate, latest);
      ASSERT_EQ(turn.has_value(), expected.has_value());
      if (!turn) continue;
      ASSERT_EQ(turn->at, *expected);
      if (random() % 4 != 0) continue;
      ASSERT_TRUE(gcra.give_back(*turn));
      reference.give_back(*expected);
    }
  }
}

// Turns that are an interval apart never lie in one stretch of that length; so a bit for each
// stretch tells.
class Stretches {
 public:
  Stretches(TimePoint start, Duration length, std::uint64_t count)
      : start_(start), length_(length), bits_(count / 64 + 1) {}

  // False when somebody was there.
  bool enter(TimePoint turn) {
    const auto place = static_cast<std::uint64_t>((turn - start_) / length_);
    const std::uint64_t bit = std::uint64_t{1} << (place % 64);
    return (bits_.at(place / 64).fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
  }

 private:
  const TimePoint start_;
  const Duration length_;
  std::vector<std::atomic<std::uint64_t>> bits_;
};

// 10^8 times, each thread at times of its own, every fourth turn given back where that is possible.
TEST(Gcra, NeverGrantsMoreThanTheRateToThreadsThatRace) {
  constexpr Rate kFast{.interval = 1us};
  constexpr std::uint64_t kThreads = 4;
  const std::uint64_t each = 25'000'000 / testing::kSlowness;
  Gcra gcra;
  Stretches stretches(at(0ms), kFast.interval, kThreads * each * 2);
  std::atomic<std::uint64_t> used{0};
  std::atomic<std::uint64_t> twice{0};
  const auto race = [&](std::uint64_t seed) {
    std::minstd_rand random(static_cast<std::uint32_t>(seed));
    std::int64_t now = 0;
    for (std::uint64_t i = 0; i < each; ++i) {
      now += static_cast<std::int64_t>(random() % 4000);
      const auto turn = gcra.take(at(Duration(now)), kFast, kNever);
      if (random() % 4 == 0 && gcra.give_back(*turn)) continue;
      used.fetch_add(1, std::memory_order_relaxed);
      if (!stretches.enter(turn->at)) twice.fetch_add(1);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t seed = 1; seed <= kThreads; ++seed) threads.emplace_back(race, seed);
  }
  EXPECT_EQ(twice.load(), 0U);
  EXPECT_GT(used.load(), kThreads * each / 2);
}

}  // namespace
}  // namespace gogrid

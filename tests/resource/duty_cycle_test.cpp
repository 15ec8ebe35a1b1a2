#include "resource/duty_cycle.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace gogrid {
namespace {

using namespace std::chrono_literals;

TimePoint at(Duration since_start) { return TimePoint(100h + since_start); }
Share percent(std::uint32_t value) { return Share::of_millionths(value * 10'000); }

TEST(DutyCycle, RestsForWhatTheShareLeaves) {
  EXPECT_EQ(rests_until(at(0ms), at(80ms), percent(80)), at(100ms));
  EXPECT_EQ(rests_until(at(0ms), at(20ms), percent(20)), at(100ms));
  EXPECT_EQ(rests_until(at(0ms), at(20ms), percent(100)), at(20ms));
  EXPECT_EQ(rests_until(at(0ms), at(0ms), percent(20)), at(0ms));
  EXPECT_EQ(rests_until(at(1h), at(1h + 50ms), percent(50)), at(1h + 100ms));
}

TEST(DutyCycle, AbsurdStepsAndSharesDoNotOverflow) {
  EXPECT_GT(rests_until(at(0ms), at(1ms), Share()), at(900s));
  EXPECT_GT(rests_until(at(0ms), at(100'000h), Share()), at(100'000h));
  EXPECT_GT(rests_until(at(200'000h), at(2'000'000h), Share()), at(2'000'000h));
  EXPECT_EQ(rests_until(at(10ms), at(0ms), percent(50)), at(0ms));  // a clock that went back
}

// Of the last second before `end`.
Duration busy_within(const std::deque<std::pair<TimePoint, TimePoint>>& steps, TimePoint end) {
  Duration busy{0};
  for (const auto& [from, to] : steps) {
    busy += std::max(Duration(0), std::min(to, end) - std::max(from, end - Duration(1s)));
  }
  return busy;
}

TEST(DutyCycle, OverAnySecondADeviceIsBusyForItsShare) {
  for (const std::uint32_t share : {20U, 50U, 60U, 80U, 95U}) {
    std::mt19937 random(share);
    std::deque<std::pair<TimePoint, TimePoint>> steps;
    TimePoint now = at(0ms);
    Duration all{0};
    for (int i = 0; i < 20'000; ++i) {
      const TimePoint end = now + std::chrono::microseconds(1000 + random() % 9000);
      const TimePoint next = rests_until(now, end, percent(share));
      steps.emplace_back(now, end);
      all += end - now;
      while (steps.front().second < end - Duration(1s)) steps.pop_front();
      // A step may stick out of either end.
      if (end > at(1s)) {
        EXPECT_LE(busy_within(steps, end), 10ms * share + 10ms) << share;
      }
      now = next + std::chrono::microseconds(random() % 100);  // a sleep that ends late
    }
    EXPECT_NEAR(static_cast<double>(all.count()) / static_cast<double>((now - at(0ms)).count()),
                share / 100.0, 0.02);
  }
}

}  // namespace
}  // namespace gogrid

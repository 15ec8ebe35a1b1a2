#include "model/pull_pace.h"

#include <gtest/gtest.h>

#include "support/manual_clock.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ManualClock;

TEST(PullPace, HoldsTheRateOverTenSeconds) {
  ManualClock clock;
  PullPace pace(1000, clock.now());
  Bytes came = 0;
  const TimePoint begin = clock.now();
  while (clock.now() - begin < seconds(10)) {
    if (const Duration wait = pace.wait(clock.now()); wait > Duration{}) {
      clock.advance(wait);
      continue;
    }
    pace.came(700, clock.now());
    came += 700;
  }
  EXPECT_GE(came, 9'800U);
  EXPECT_LE(came, 10'700U);
}

TEST(PullPace, APauseIsNotFollowedByABurst) {
  ManualClock clock;
  PullPace pace(1000, clock.now());
  clock.advance(std::chrono::hours(1));
  pace.came(2000, clock.now());
  EXPECT_EQ(pace.wait(clock.now()), seconds(2));
  clock.advance(milliseconds(1500));
  EXPECT_EQ(pace.wait(clock.now()), milliseconds(500));
}

TEST(PullPace, ZeroIsNoLimit) {
  ManualClock clock;
  PullPace pace(0, clock.now());
  pace.came(Bytes{1} << 60, clock.now());
  EXPECT_EQ(pace.wait(clock.now()), Duration{});
}

}  // namespace
}  // namespace gogrid

#include "pipeline/backoff.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Backoff, DoublesFromAHundredMillisecondsToFiveSeconds) {
  EXPECT_EQ(backoff(1, 1.0), milliseconds(100));
  EXPECT_EQ(backoff(2, 1.0), milliseconds(200));
  EXPECT_EQ(backoff(6, 1.0), milliseconds(3200));
  EXPECT_EQ(backoff(7, 1.0), seconds(5));
  EXPECT_EQ(backoff(1000, 1.0), seconds(5));
}

TEST(Backoff, IsJitteredFromNothingToAll) {
  EXPECT_EQ(backoff(3, 0.0), Duration{});
  EXPECT_EQ(backoff(3, 0.5), milliseconds(200));
}

TEST(Backoff, StaysInItsBoundsForAbsurdArguments) {
  EXPECT_EQ(backoff(-5, 2.0), milliseconds(100));
  EXPECT_EQ(backoff(0, -1.0), Duration{});
}

}  // namespace
}  // namespace gogrid

#include "engine/load_retry.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr TimePoint kStart{hours(1)};
const Rooms kRooms{{"cpu0", 100}, {"gpu0", 50}};

TEST(LoadRetry, AModelIsDueAtOnceAndNotWhileItLoadsNorOnceItIsLoaded) {
  LoadRetry retry(kStart);
  EXPECT_TRUE(retry.is_due(kStart, kRooms));
  retry.begin();
  EXPECT_FALSE(retry.is_due(kStart + hours(1), kRooms));
  retry.loaded(kStart);
  EXPECT_FALSE(retry.is_due(kStart + hours(1), {{"cpu0", 200}}));
}

TEST(LoadRetry, WhatFailsIsTriedThreeTimesMoreEachAfterALongerWait) {
  LoadRetry retry(kStart);
  for (const int wait : {100, 200, 400}) {
    retry.failed(ErrorCode::kUnavailable, kStart);
    EXPECT_FALSE(retry.is_due(kStart + milliseconds(wait - 1), kRooms)) << wait;
    EXPECT_TRUE(retry.is_due(kStart + milliseconds(wait), kRooms)) << wait;
  }
  retry.failed(ErrorCode::kUnavailable, kStart);
  EXPECT_FALSE(retry.is_due(kStart + hours(1), kRooms));
}

TEST(LoadRetry, WhatCanNeverLoadIsNotTriedAgain) {
  LoadRetry retry(kStart);
  retry.failed(ErrorCode::kCorrupt, kStart);
  EXPECT_FALSE(retry.is_due(kStart + hours(1), {{"cpu0", 200}}));
}

TEST(LoadRetry, AMinuteOfServiceGivesItsTriesBackAndLessDoesNot) {
  LoadRetry retry(kStart);
  TimePoint now = kStart;
  for (int i = 0; i < 6; ++i) {
    retry.loaded(now);
    retry.failed(ErrorCode::kUnavailable, now += LoadRetry::kHealthyAfter);
    ASSERT_TRUE(retry.is_due(now + milliseconds(100), kRooms)) << i;
  }
  for (int i = 0; i < 3; ++i) {
    retry.loaded(now);
    retry.failed(ErrorCode::kUnavailable, now += LoadRetry::kHealthyAfter - milliseconds(1));
  }
  EXPECT_FALSE(retry.is_due(now + hours(1), kRooms));
}

TEST(LoadRetry, MemoryThatWasRefusedIsAskedForOnceSomeDeviceHasMoreRoom) {
  LoadRetry retry(kStart);
  retry.refused(ErrorCode::kDoesNotFit, false, kRooms, kStart);
  EXPECT_FALSE(retry.is_due(kStart + hours(100), kRooms));
  EXPECT_FALSE(retry.is_due(kStart + hours(100), {{"cpu0", 99}, {"gpu0", 50}}));
  EXPECT_FALSE(retry.is_due(kStart + milliseconds(999), {{"cpu0", 100}, {"gpu0", 51}}));
  EXPECT_TRUE(retry.is_due(kStart + seconds(1), {{"cpu0", 100}, {"gpu0", 51}}));
  EXPECT_TRUE(retry.is_due(kStart + seconds(1), {{"cpu0", 100}, {"gpu0", 50}, {"gpu1", 1}}));
}

// Others than GoGrid gave it back: no ledger sees that.
TEST(LoadRetry, WhatIsRefusedForNowIsAskedForEveryMinute) {
  LoadRetry retry(kStart);
  TimePoint now = kStart;
  for (int i = 0; i < 100; ++i) {
    retry.refused(ErrorCode::kExhausted, false, kRooms, now);
    ASSERT_FALSE(retry.is_due(now + minutes(1) - milliseconds(1), kRooms)) << i;
    ASSERT_TRUE(retry.is_due(now += minutes(1), kRooms)) << i;
    retry.begin();
  }
}

TEST(LoadRetry, WhatIsRefusedOnlyAfterItBeganIsAskedForLessAndLessOften) {
  LoadRetry retry(kStart);
  for (const int wait : {1, 2, 4, 8, 15, 15, 15}) {
    retry.refused(ErrorCode::kExhausted, true, kRooms, kStart);
    EXPECT_FALSE(retry.is_due(kStart + minutes(wait) - milliseconds(1), kRooms)) << wait;
    EXPECT_TRUE(retry.is_due(kStart + minutes(wait), kRooms)) << wait;
    // Room is another matter.
    EXPECT_TRUE(retry.is_due(kStart + seconds(1), {{"cpu0", 101}})) << wait;
  }
  retry.loaded(kStart);
  retry.refused(ErrorCode::kExhausted, true, kRooms, kStart);
  EXPECT_TRUE(retry.is_due(kStart + minutes(1), kRooms));
}

TEST(LoadRetry, WhoLeftReturnsWhenThereIsRoomOrAfterAMinute) {
  LoadRetry retry(kStart);
  retry.left({{"cpu0", 0}}, kStart);
  EXPECT_FALSE(retry.is_due(kStart + seconds(59), {{"cpu0", 0}}));
  EXPECT_TRUE(retry.is_due(kStart + seconds(1), {{"cpu0", 1}}));
  EXPECT_TRUE(retry.is_due(kStart + minutes(1), {{"cpu0", 0}}));
}

TEST(LoadRetry, RoomIsWhatACapLeavesAndNothingWhereMoreIsHeld) {
  EXPECT_EQ(rooms_of(std::vector<DeviceMemory>{{"a", 100, 30, {}}, {"b", 10, 11, {}}}),
            (Rooms{{"a", 70}, {"b", 0}}));
  EXPECT_EQ(least_of({{"a", 70}, {"b", 5}}, {{"a", 80}, {"b", 0}, {"c", 1}}),
            (Rooms{{"a", 70}, {"b", 0}}));
}

}  // namespace
}  // namespace gogrid

#include "base/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace gogrid {
namespace {

TimePoint soon() { return SteadyClock().now() + std::chrono::milliseconds(1); }
TimePoint later() { return SteadyClock().now() + std::chrono::seconds(30); }

TEST(BoundedQueue, GivesBackInOrder) {
  BoundedQueue<int> queue(3);
  for (int i : {1, 2, 3}) EXPECT_EQ(queue.try_push(std::move(i)), PushResult::kPushed);
  for (const int i : {1, 2, 3}) EXPECT_EQ(queue.pop(), i);
}

TEST(BoundedQueue, CapacityOneHoldsOne) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.try_push(1), PushResult::kPushed);
  EXPECT_EQ(queue.try_push(2), PushResult::kFull);
  EXPECT_EQ(queue.size(), 1U);
}

TEST(BoundedQueue, ARefusedValueStaysTheCallers) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_EQ(queue.try_push(std::make_unique<int>(1)), PushResult::kPushed);
  auto value = std::make_unique<int>(2);
  EXPECT_EQ(queue.try_push(std::move(value)), PushResult::kFull);
  EXPECT_EQ(queue.push_until(std::move(value), soon()), PushResult::kFull);
  queue.close();
  EXPECT_EQ(queue.try_push(std::move(value)), PushResult::kClosed);
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(*value, 2);
}

TEST(BoundedQueue, WhatIsInsideComesOutAfterClosing) {
  BoundedQueue<int> queue(2);
  ASSERT_EQ(queue.try_push(1), PushResult::kPushed);
  queue.close();
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), std::nullopt);
  EXPECT_EQ(queue.pop_until(later()), std::nullopt);
}

TEST(BoundedQueue, PopUntilGivesUpAtItsDeadline) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.pop_until(soon()), std::nullopt);
}

TEST(BoundedQueue, AWaitingProducerGetsThePlaceThatIsFreed) {
  BoundedQueue<int> queue(1);
  ASSERT_EQ(queue.try_push(1), PushResult::kPushed);
  const std::jthread producer(
      [&] { EXPECT_EQ(queue.push_until(2, later()), PushResult::kPushed); });
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
}

TEST(BoundedQueue, ClosingWakesEveryoneWhoWaits) {
  BoundedQueue<int> full(1);
  BoundedQueue<int> empty(1);
  ASSERT_EQ(full.try_push(1), PushResult::kPushed);
  const std::jthread producer([&] { EXPECT_EQ(full.push_until(2, later()), PushResult::kClosed); });
  const std::jthread consumer([&] { EXPECT_EQ(empty.pop(), std::nullopt); });
  full.close();
  empty.close();
}

TEST(BoundedQueue, NothingIsLostOrDoubledBetweenThreads) {
  constexpr int kEach = 5'000;
  BoundedQueue<int> queue(8);
  std::atomic<long> sum{0};
  {
    std::vector<std::jthread> consumers;
    for (int c = 0; c < 2; ++c) {
      consumers.emplace_back([&] {
        while (const auto value = queue.pop()) sum += *value;
      });
    }
    {
      std::vector<std::jthread> producers;
      for (int p = 0; p < 2; ++p) {
        producers.emplace_back([&] {
          for (int i = 1; i <= kEach; ++i) {
            int value = i;
            ASSERT_EQ(queue.push_until(std::move(value), later()), PushResult::kPushed);
          }
        });
      }
    }
    queue.close();
  }
  EXPECT_EQ(sum, 2L * kEach * (kEach + 1) / 2);
}

}  // namespace
}  // namespace gogrid

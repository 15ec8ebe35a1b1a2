#include "batching/request_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>

namespace gogrid {
namespace {

QueuedRequest request(const std::string& principal, Token tag) {
  QueuedRequest queued;
  queued.submission.request.principal = principal;
  queued.submission.request.prompt = {tag};
  return queued;
}
Token tag_of(const QueuedRequest& queued) { return queued.submission.request.prompt.at(0); }

TEST(RequestQueue, IsFirstComeFirstServedWithinAPrincipal) {
  RequestQueue queue(10);
  for (Token i = 0; i < 5; ++i) queue.push(request("a", i));
  for (Token i = 0; i < 5; ++i) EXPECT_EQ(tag_of(*queue.pop()), i);
  EXPECT_FALSE(queue.pop());
  EXPECT_EQ(queue.front(), nullptr);
}

TEST(RequestQueue, ShowsWhomItWouldPop) {
  RequestQueue queue(10);
  std::mt19937 random(3);
  for (Token i = 0; i < 10; ++i) queue.push(request(std::string(1, "abc"[random() % 3]), i));
  while (!queue.empty()) {
    const Token shown = tag_of(*queue.front());
    EXPECT_EQ(tag_of(*queue.pop()), shown);
  }
}

TEST(RequestQueue, TakesPrincipalsInTurn) {
  RequestQueue queue(10);
  for (Token i = 0; i < 3; ++i) queue.push(request("a", i));
  for (Token i = 10; i < 13; ++i) queue.push(request("b", i));
  std::vector<Token> order;
  while (auto popped = queue.pop()) {
    order.push_back(tag_of(*popped));
    queue.ended(popped->submission.request.principal);
  }
  EXPECT_THAT(order, ::testing::ElementsAre(0, 10, 1, 11, 2, 12));
}

TEST(RequestQueue, PrefersWhoHasFewestRunning) {
  RequestQueue queue(10);
  for (Token i = 0; i < 4; ++i) queue.push(request("a", i));
  queue.pop();
  queue.pop();
  queue.push(request("b", 10));
  queue.push(request("b", 11));
  EXPECT_EQ(tag_of(*queue.pop()), 10);
  EXPECT_EQ(tag_of(*queue.pop()), 11);
  EXPECT_EQ(tag_of(*queue.pop()), 2);
}

TEST(RequestQueue, IsFullAtItsCapacity) {
  RequestQueue queue(2);
  EXPECT_FALSE(queue.full());
  queue.push(request("a", 1));
  queue.push(request("b", 2));
  EXPECT_TRUE(queue.full());
  queue.pop();
  EXPECT_FALSE(queue.full());
}

TEST(RequestQueue, WithoutCapacityIsAlwaysFull) { EXPECT_TRUE(RequestQueue(0).full()); }

TEST(RequestQueue, TakesOutWhomItIsToldTo) {
  RequestQueue queue(10);
  for (Token i = 0; i < 6; ++i) queue.push(request(i % 2 == 0 ? "a" : "b", i));
  const auto removed = queue.remove_if([](const QueuedRequest& q) { return tag_of(q) < 3; });
  EXPECT_EQ(removed.size(), 3U);
  EXPECT_EQ(queue.size(), 3U);
  std::vector<Token> left;
  while (auto popped = queue.pop()) left.push_back(tag_of(*popped));
  EXPECT_THAT(left, ::testing::UnorderedElementsAre(3, 4, 5));
}

TEST(RequestQueue, ForgetsWhoHasNothingLeft) {
  RequestQueue queue(10);
  queue.ended("stranger");  // nothing happens
  queue.push(request("a", 1));
  queue.pop();
  queue.ended("a");
  queue.ended("a");
  queue.push(request("a", 2));
  EXPECT_EQ(tag_of(*queue.pop()), 2);
}

TEST(RequestQueue, ServesEveryPrincipalEquallyInACrowd) {
  RequestQueue queue(10'000);
  std::map<std::string, int> served;
  std::deque<std::string> running;
  // "a" asks ten times as often as the others; everybody always has something waiting.
  for (int i = 0; i < 400; ++i) {
    for (const char* name : {"a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "b", "c", "d"}) {
      queue.push(request(name, 0));
    }
    if (running.size() == 6) {
      queue.ended(running.front());
      running.pop_front();
    }
    running.push_back(queue.pop()->submission.request.principal);
    ++served[running.back()];
  }
  for (const auto& [name, count] : served) EXPECT_NEAR(count, 100, 1) << name;
}

}  // namespace
}  // namespace gogrid

#include "http/turnstile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "support/eventually.h"
#include "support/slowness.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using testing::eventually;
using enum Turnstile::Answer;

class TurnstileTest : public ::testing::Test {
 protected:
  // Asks in the name of `i`; the first of a test goes at once.
  Turnstile::Answer ask(int i, Turnstile::Place place, std::stop_token gone = {},
                        Duration within = 10h) {
    return turnstile_.ask(std::move(place), SteadyClock().now() + within, std::move(gone),
                          {.go =
                               [this, i](bool) {
                                 MutexLock lock(mu_);
                                 order_.push_back(i);
                                 times_.push_back(SteadyClock().now());
                                 ++went_;
                               },
                           .refuse =
                               [this](RateGate::Refusal why) {
                                 why_ = why;
                                 ++refused_;
                               }});
  }
  Turnstile::Answer ask(int i, std::stop_token gone = {}, Duration within = 10h) {
    return ask(i, turnstile_.arrive(true), std::move(gone), within);
  }
  std::vector<int> order() {
    MutexLock lock(mu_);
    return order_;
  }
  // When the n-th went.
  TimePoint time_of(std::size_t n) {
    MutexLock lock(mu_);
    return times_.at(n);
  }

  RateGate gate_{100'000};
  Mutex mu_;
  std::vector<int> order_ GUARDED_BY(mu_);
  std::vector<TimePoint> times_ GUARDED_BY(mu_);
  std::atomic<int> went_{0};
  std::atomic<int> refused_{0};
  std::atomic<RateGate::Refusal> why_{};
  Turnstile turnstile_{gate_};  // last: calls back
};

TEST_F(TurnstileTest, WithoutARateEverybodyGoesAtOnce) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(i), kWent);
  EXPECT_EQ(went_, 3);
}

TEST_F(TurnstileTest, LetsEachGoInOrderAndNotBeforeItsTime) {
  turnstile_.set_rate({.interval = 5ms});
  const TimePoint begin = SteadyClock().now();
  EXPECT_EQ(ask(0), kWent);
  for (int i = 1; i <= 10; ++i) EXPECT_EQ(ask(i), kWaits);
  ASSERT_TRUE(eventually([&] { return went_ == 11; }));
  EXPECT_EQ(order(), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  for (std::size_t i = 0; i <= 10; ++i) EXPECT_GE(time_of(i), begin + i * 5ms);
  EXPECT_EQ(gate_.counts().delayed, 10U);
}

TEST_F(TurnstileTest, TheOrderIsThatOfArrivalWhoeverAsksFirst) {
  turnstile_.set_rate({.interval = 20ms});
  ask(0);
  auto first = turnstile_.arrive(true);
  auto second = turnstile_.arrive(true);
  auto third = turnstile_.arrive(true);
  ask(3, std::move(third));
  ask(2, std::move(second));
  std::this_thread::sleep_for(100ms);  // their turns come, but somebody is before them
  EXPECT_EQ(went_, 1);
  const TimePoint released = SteadyClock().now();
  ask(1, std::move(first));
  ASSERT_TRUE(eventually([&] { return went_ == 4; }));
  EXPECT_THAT(order(), ElementsAre(0, 1, 2, 3));
  // What was missed is not made up for.
  EXPECT_GE(time_of(2), released + 20ms);
  EXPECT_GE(time_of(3), released + 40ms);
}

TEST_F(TurnstileTest, WhoIsRefusedBeforeItAsksHoldsNobodyUp) {
  turnstile_.set_rate({.interval = 1ms});
  ask(0);
  {
    const auto refused = turnstile_.arrive(true);
    ask(1);
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(went_, 1);
  }
  EXPECT_TRUE(eventually([&] { return went_ == 2; }));
}

TEST_F(TurnstileTest, WhatTakesLongHoldsNobodyUpAndStandsWhereItArrived) {
  turnstile_.set_rate({.interval = 1h});
  ask(0);
  auto large = turnstile_.arrive(false);
  ask(1);
  turnstile_.set_rate({.interval = 1ms});
  ASSERT_TRUE(eventually([&] { return went_ == 2; }));  // its turn came before the large one asked
  turnstile_.set_rate({.interval = 1h});
  ask(2);
  ask(9, std::move(large));
  turnstile_.set_rate({.interval = 1ms});
  ASSERT_TRUE(eventually([&] { return went_ == 4; }));
  EXPECT_THAT(order(), ElementsAre(0, 1, 9, 2));
}

TEST_F(TurnstileTest, WhoeverIsGoneIsNotCalledAndItsTurnIsGivenBack) {
  turnstile_.set_rate({.interval = 1h});
  ask(0);
  std::stop_source gone;
  ask(1, gone.get_token());
  EXPECT_EQ(gate_.counts().waiting, 1U);
  gone.request_stop();
  EXPECT_EQ(gate_.counts().waiting, 0U);
  EXPECT_EQ(gate_.counts().refused, 1U);
  EXPECT_EQ(ask(2, {}, 61min), kWaits);  // an hour, not two
  EXPECT_EQ(went_ + refused_, 1);
}

TEST_F(TurnstileTest, WhoeverStandsBehindSomebodyWhoLeavesMovesUp) {
  turnstile_.set_rate({.interval = 300ms});
  const TimePoint begin = SteadyClock().now();
  ask(0);
  std::stop_source gone;
  for (int i = 1; i <= 8; ++i) ask(i, gone.get_token());
  ask(9);
  gone.request_stop();
  ASSERT_TRUE(eventually([&] { return went_ == 2; }));
  EXPECT_THAT(order(), ElementsAre(0, 9));
  EXPECT_GE(time_of(1), begin + 300ms);
  EXPECT_LT(time_of(1), begin + 2s);  // not 2.7 s
}

TEST_F(TurnstileTest, WhoeverWasGoneBeforeItCameIsNotCalledEither) {
  turnstile_.set_rate({.interval = 1h});
  ask(0);
  std::stop_source gone;
  gone.request_stop();
  ask(1, gone.get_token());
  EXPECT_EQ(gate_.counts().waiting, 0U);
  EXPECT_EQ(went_ + refused_, 1);
}

TEST_F(TurnstileTest, AFasterRateIsInForceForAllWhoWait) {
  turnstile_.set_rate({.interval = 1h});
  for (int i = 0; i <= 10; ++i) ask(i);
  turnstile_.set_rate({.interval = 2ms});
  ASSERT_TRUE(eventually([&] { return went_ == 11; }));
  EXPECT_EQ(order(), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(gate_.counts().delayed, 10U);
  EXPECT_EQ(gate_.counts().seen, 11U);
}

TEST_F(TurnstileTest, WithoutARateAnyMoreAllWhoWaitGoBeforeNewcomers) {
  turnstile_.set_rate({.interval = 1h});
  for (int i = 0; i < 5; ++i) ask(i);
  turnstile_.set_rate({});
  for (int i = 5; i < 10; ++i) ask(i);
  ASSERT_TRUE(eventually([&] { return went_ == 10; }));
  EXPECT_EQ(order(), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(TurnstileTest, ASlowerRateRefusesWhoseTurnComesTooLateNow) {
  turnstile_.set_rate({.interval = 1min});
  ask(0);
  ask(1, {}, 90min);
  ask(2, {}, 90min);
  ask(3, {}, 150min);
  turnstile_.set_rate({.interval = 1h});
  ASSERT_TRUE(eventually([&] { return refused_ == 1; }));
  EXPECT_EQ(why_, RateGate::Refusal::kTooLong);
  EXPECT_EQ(gate_.counts().waiting, 2U);
  EXPECT_EQ(gate_.counts().refused, 1U);
  EXPECT_EQ(went_, 1);
}

TEST_F(TurnstileTest, WhoWaitsLongIsToldNowAndThen) {
  turnstile_.set_rate({.interval = 1h});
  ask(0);
  std::atomic<int> told{0};
  const TimePoint begin = SteadyClock().now();
  turnstile_.ask(turnstile_.arrive(true), begin + 10h, {},
                 {.go = [](bool) {}, .refuse = [](auto) {}, .tell = [&] { ++told; }});
  ASSERT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_GE(SteadyClock().now() - begin, Turnstile::kFirstNotice);
}

TEST_F(TurnstileTest, RefusesAllWhoWaitAndAllWhoComeOnceItIsClosed) {
  turnstile_.set_rate({.interval = 1h});
  for (int i = 0; i < 4; ++i) ask(i);
  turnstile_.close();
  ASSERT_TRUE(eventually([&] { return refused_ == 3; }));
  EXPECT_EQ(ask(4), kRefused);
  EXPECT_EQ(refused_, 4);
  EXPECT_EQ(why_, RateGate::Refusal::kClosed);
  EXPECT_EQ(went_, 1);
}

// The framework keeps what it calls until the process ends.
TEST(StoppedTurnstile, OutlivesItsGate) {
  auto gate = std::make_unique<RateGate>(100);
  Turnstile turnstile(*gate);
  turnstile.set_rate({.interval = 1h});
  std::stop_source gone;
  int refused = 0;
  const auto ask = [&] {
    return turnstile.ask(turnstile.arrive(true), SteadyClock().now() + 10h, gone.get_token(),
                         {.go = [](bool) {}, .refuse = [&](auto) { ++refused; }});
  };
  EXPECT_EQ(ask(), Turnstile::Answer::kWent);
  EXPECT_EQ(ask(), Turnstile::Answer::kWaits);
  turnstile.stop();
  EXPECT_EQ(refused, 1);
  gate.reset();
  gone.request_stop();
  EXPECT_EQ(ask(), Turnstile::Answer::kRefused);
  turnstile.close();
}

// Comers, leavers, changes and a close at random: each ends in one way, and the gate knows.
TEST_F(TurnstileTest, EachEndsInOneWay) {
  turnstile_.set_rate({.interval = 2us});
  const int each = 2000 / testing::kSlowness;
  std::vector<std::stop_source> clients(static_cast<std::size_t>(4 * each));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < each; ++i) {
          auto& client = clients[static_cast<std::size_t>(t * each + i)];
          ask(i, turnstile_.arrive(random() % 4 != 0), client.get_token());
          if (random() % 4 == 0) client.request_stop();
          if (random() % 16 == 0) turnstile_.set_rate({.interval = 1us * (random() % 4)});
        }
      });
    }
  }
  ASSERT_TRUE(eventually([&] { return gate_.counts().waiting == 0; }));
  turnstile_.close();
  const GateCounts counts = gate_.counts();
  EXPECT_EQ(counts.seen, static_cast<std::uint64_t>(4 * each));
  EXPECT_EQ(counts.granted + counts.refused, counts.seen);
  EXPECT_TRUE(eventually([&] { return static_cast<std::uint64_t>(went_) >= counts.delayed; }));
  EXPECT_LE(static_cast<std::uint64_t>(went_), counts.granted);
}

}  // namespace
}  // namespace gogrid

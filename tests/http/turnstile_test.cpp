#include "http/turnstile.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "support/eventually.h"
#include "support/slowness.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;
using testing::eventually;

class TurnstileTest : public ::testing::Test {
 protected:
  RateGate::Wait next(Duration interval) {
    const TimePoint now = SteadyClock().now();
    auto answer = gate_.ask(now, {.interval = interval}, TimePoint::max());
    if (!answer->has_value()) answer = gate_.ask(now, {.interval = interval}, TimePoint::max());
    return **std::move(answer);
  }

  RateGate gate_{100'000};
  std::atomic<int> went_{0};
  std::atomic<int> refused_{0};
  Turnstile turnstile_;  // last: calls back
};

TEST_F(TurnstileTest, LetsEachGoInOrderAndNotBeforeItsTime) {
  std::vector<int> order;
  std::vector<bool> in_time;
  for (int i = 0; i < 10; ++i) {
    auto turn = next(5ms);
    const TimePoint at = turn.at();
    turnstile_.wait(
        std::move(turn), {},
        [&, i, at] {
          order.push_back(i);
          in_time.push_back(SteadyClock().now() >= at);
          ++went_;
        },
        [&] { ++refused_; });
  }
  ASSERT_TRUE(eventually([&] { return went_ == 10; }));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(in_time, std::vector<bool>(10, true));
  EXPECT_EQ(gate_.counts().delayed, 10U);
}

TEST_F(TurnstileTest, WhoeverIsGoneIsNotCalledAndItsTurnIsGivenBack) {
  std::stop_source gone;
  turnstile_.wait(next(1h), gone.get_token(), [&] { ++went_; }, [&] { ++refused_; });
  EXPECT_EQ(gate_.counts().waiting, 1U);
  gone.request_stop();
  EXPECT_EQ(gate_.counts().waiting, 0U);
  EXPECT_EQ(gate_.counts().refused, 1U);
  EXPECT_EQ(went_ + refused_, 0);
}

TEST_F(TurnstileTest, WhoeverWasGoneBeforeItCameIsNotCalledEither) {
  std::stop_source gone;
  gone.request_stop();
  turnstile_.wait(next(1h), gone.get_token(), [&] { ++went_; }, [&] { ++refused_; });
  EXPECT_EQ(gate_.counts().waiting, 0U);
  EXPECT_EQ(went_ + refused_, 0);
}

TEST_F(TurnstileTest, RefusesAllWhoWaitAndAllWhoComeOnceItIsClosed) {
  for (int i = 0; i < 3; ++i) turnstile_.wait(next(1h), {}, [&] { ++went_; }, [&] { ++refused_; });
  turnstile_.close();
  EXPECT_EQ(refused_, 3);
  turnstile_.wait(next(1h), {}, [&] { ++went_; }, [&] { ++refused_; });
  EXPECT_EQ(refused_, 4);
  EXPECT_EQ(went_, 0);
}

// Comers, leavers and a close at random: each ends in one way, and the gate knows.
TEST_F(TurnstileTest, EachEndsInOneWay) {
  const int each = 2000 / testing::kSlowness;
  std::vector<std::stop_source> clients(static_cast<std::size_t>(4 * each));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < each; ++i) {
          auto& client = clients[static_cast<std::size_t>(t * each + i)];
          auto answer = gate_.ask(SteadyClock().now(), {.interval = 2us}, TimePoint::max());
          if (!answer->has_value()) continue;  // went at once
          turnstile_.wait(
              **std::move(answer), client.get_token(), [&] { ++went_; }, [&] { ++refused_; });
          if (random() % 4 == 0) client.request_stop();
        }
      });
    }
  }
  ASSERT_TRUE(eventually([&] { return gate_.counts().waiting == 0; }));
  turnstile_.close();
  const GateCounts counts = gate_.counts();
  EXPECT_EQ(counts.seen, static_cast<std::uint64_t>(4 * each));
  EXPECT_EQ(counts.delayed, static_cast<std::uint64_t>(went_));
  EXPECT_EQ(counts.granted + counts.refused, counts.seen);
}

}  // namespace
}  // namespace gogrid

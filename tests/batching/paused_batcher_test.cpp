// What a governor's pause means for streams, and for who waits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "batching/grid.h"
#include "support/eventually.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::eventually;
using testing::FakeCall;
using testing::Grid;
using testing::GridSetup;
using testing::make_prompt;
using testing::make_request;

const SteadyClock kClock;

// Steps of a millisecond, asked of a governor.
GridSetup governed(Governor& governor, std::size_t n_stages = 1) {
  GridSetup setup{.n_stages = n_stages};
  setup.options.groups = static_cast<std::uint32_t>(n_stages);
  setup.options.governor = &governor;
  setup.fake.script = [](FakeCall&) { std::this_thread::sleep_for(milliseconds(1)); };
  return setup;
}

TEST(PausedBatcher, RestsAtTheEndOfAStepSaysWhyAndGoesOnWhereItWas) {
  for (const std::size_t n_stages : {1U, 2U}) {
    Governor governor(kClock);
    Grid grid(governed(governor, n_stages));
    grid.start();
    const auto running = grid.send(make_request(make_prompt(20), 100));
    ASSERT_TRUE(running->wait_for_tokens(5));
    governor.pause(PauseReason::kOperator, "a film", {});
    const auto newcomer = grid.send(make_request(make_prompt(30, 1), 10));
    EXPECT_TRUE(eventually([&] { return !running->notices().empty(); }));
    EXPECT_TRUE(eventually([&] { return !newcomer->notices().empty(); }));
    EXPECT_THAT(running->notices(), ::testing::ElementsAre("a film"));
    std::this_thread::sleep_for(milliseconds(20));  // what was in flight comes back
    const auto calls = grid.factory().counters().calls.load();
    std::this_thread::sleep_for(milliseconds(100));
    EXPECT_EQ(grid.factory().counters().calls, calls);
    EXPECT_FALSE(running->ended());
    governor.resume(PauseReason::kOperator);
    ASSERT_TRUE(running->wait_for_end() && newcomer->wait_for_end());
    EXPECT_EQ(running->tokens(), grid.expected(make_prompt(20), 100));
    EXPECT_EQ(newcomer->tokens(), grid.expected(make_prompt(30, 1), 10));
    EXPECT_EQ(running->concurrent_calls() + running->calls_after_end(), 0);
  }
}

TEST(PausedBatcher, GoesOnByItselfWhenTheTimeIsOver) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  governor.pause(PauseReason::kLoad, "a compiler", kClock.now() + milliseconds(150));
  grid.start();
  const TimePoint begin = kClock.now();
  const auto sink = grid.send(make_request(make_prompt(5), 5));
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_TRUE(sink->finish());
  EXPECT_GE(kClock.now() - begin, milliseconds(100));
}

TEST(PausedBatcher, DeadlinesStandStillInAPause) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  grid.start();
  GenerationRequest request = make_request(make_prompt(5), 50);
  request.deadline = kClock.now() + seconds(2);
  const auto sink = grid.send(std::move(request));
  ASSERT_TRUE(sink->wait_for_tokens(3));
  governor.pause(PauseReason::kOperator, "a film", {});
  std::this_thread::sleep_for(milliseconds(2500));
  EXPECT_FALSE(sink->ended());
  governor.resume(PauseReason::kOperator);
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_TRUE(sink->finish());
}

TEST(PausedBatcher, WhoCanWaitForSoLongOnlyIsSentAwayThen) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  grid.start();
  governor.pause(PauseReason::kOperator, "a film", {});
  GenerationRequest request = make_request(make_prompt(5), 5);
  request.start_by = kClock.now() + milliseconds(30);
  const auto sink = grid.send(std::move(request));
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->error()->code, ErrorCode::kUnavailable);
}

TEST(PausedBatcher, CancelledStreamsEndInAPauseToo) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  grid.start();
  std::stop_source client;
  GenerationRequest request = make_request(make_prompt(5), 400);
  request.cancel = client.get_token();
  const auto sink = grid.send(std::move(request));
  ASSERT_TRUE(sink->wait_for_tokens(3));
  governor.pause(PauseReason::kOperator, "a film", {});
  client.request_stop();
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->error()->code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace gogrid

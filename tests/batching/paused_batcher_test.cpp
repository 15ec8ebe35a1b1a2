// What a governor's pause means for streams, and for who waits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "batching/grid.h"
#include "support/eventually.h"
#include "support/manual_clock.h"

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
    EXPECT_THAT(running->notices(), ::testing::ElementsAre("paused: a film"));
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

// Choices of one request among them: some stream, the others must not end it.
TEST(PausedBatcher, WhoWaitedForThePauseToEndMayWaitForAPlaceAfterIt) {
  Governor governor(kClock);
  GridSetup setup = governed(governor);
  setup.options.parallel = 1;
  Grid grid(setup);
  grid.start();
  governor.pause(PauseReason::kOperator, "a film", {});
  const TimePoint start_by = kClock.now() + milliseconds(300);
  std::vector<std::shared_ptr<testing::RecordingSink>> sinks;
  for (Token salt = 0; salt < 2; ++salt) {
    GenerationRequest request = make_request(make_prompt(5, salt), 450);
    request.start_by = start_by;
    sinks.push_back(grid.send(std::move(request)));
  }
  governor.resume(PauseReason::kOperator);
  ASSERT_TRUE(sinks[0]->wait_for_tokens(1));
  governor.pause(PauseReason::kOperator, "another film", {});
  std::this_thread::sleep_for(start_by - kClock.now() + milliseconds(100));
  EXPECT_FALSE(sinks[1]->ended());
  governor.resume(PauseReason::kOperator);
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait_for_end());
    EXPECT_TRUE(sink->finish());
  }
}

TEST(PausedBatcher, WhoComesInMidPauseIsToldWhyAtOnce) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  grid.start();
  governor.pause(PauseReason::kOperator, "a film", {});
  const auto first = grid.send(make_request(make_prompt(5), 5));
  EXPECT_TRUE(eventually([&] { return !first->notices().empty(); }));
  const auto second = grid.send(make_request(make_prompt(5), 5));
  const TimePoint begin = kClock.now();
  EXPECT_TRUE(eventually([&] { return !second->notices().empty(); }));
  EXPECT_LT(kClock.now() - begin, seconds(1));
  EXPECT_EQ(first->notices().size(), 1U);
}

// Whatever the reason: a long step, a device that rests, places that are taken.
TEST(PausedBatcher, WhoHearsNothingForLongIsToldThatItWaits) {
  testing::ManualClock clock;
  const auto held = std::make_shared<testing::Latch>();
  GridSetup setup;
  setup.options.parallel = 1;
  setup.fake.script = [&](FakeCall& call) { call.hang = held; };
  setup.clock = &clock;
  Grid grid(setup);
  grid.start();
  const auto running = grid.send(make_request(make_prompt(5), 5));
  const auto queued = grid.send(make_request(make_prompt(5), 5));
  ASSERT_TRUE(eventually([&] { return grid.factory().counters().calls > 0; }));
  clock.advance(kLongestSilence - milliseconds(1));
  std::this_thread::sleep_for(milliseconds(120));  // the batcher looks every 50 ms
  EXPECT_TRUE(running->notices().empty() && queued->notices().empty());
  clock.advance(milliseconds(1));
  EXPECT_TRUE(
      eventually([&] { return !running->notices().empty() && !queued->notices().empty(); }));
  EXPECT_THAT(running->notices(), ::testing::ElementsAre(::testing::HasSubstr("step")));
  EXPECT_THAT(queued->notices(), ::testing::ElementsAre(::testing::HasSubstr("places")));
  held->open();
  ASSERT_TRUE(running->wait_for_end() && queued->wait_for_end());
}

// Open-ended, nobody knows when they could go on.
TEST(PausedBatcher, ADrainEndsWhatIsPausedBeyondItsDeadlineAtOnce) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  grid.start();
  const auto running = grid.send(make_request(make_prompt(5), 400));
  ASSERT_TRUE(running->wait_for_tokens(3));
  governor.pause(PauseReason::kOperator, "a film", {});
  const auto waiting = grid.send(make_request(make_prompt(5), 400));
  const TimePoint begin = kClock.now();
  grid.batcher().drain(begin + seconds(5));
  EXPECT_LT(kClock.now() - begin, seconds(1));
  for (const auto& sink : {running, waiting}) {
    ASSERT_TRUE(sink->error());
    EXPECT_EQ(sink->error()->code, ErrorCode::kUnavailable);
    EXPECT_THAT(sink->error()->message, ::testing::HasSubstr("a film"));
  }
}

TEST(PausedBatcher, ADrainWaitsForAPauseThatEndsInTime) {
  Governor governor(kClock);
  Grid grid(governed(governor));
  grid.start();
  const auto running = grid.send(make_request(make_prompt(5), 50));
  ASSERT_TRUE(running->wait_for_tokens(3));
  governor.pause(PauseReason::kLoad, "a compiler", kClock.now() + milliseconds(200));
  grid.batcher().drain(kClock.now() + seconds(20));
  EXPECT_TRUE(running->finish());
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

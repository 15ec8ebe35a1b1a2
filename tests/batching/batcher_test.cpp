#include "batching/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "batching/grid.h"
#include "support/eventually.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using testing::eventually;
using testing::FakeCall;
using testing::FakeOptions;
using testing::Grid;
using testing::GridSetup;
using ::testing::HasSubstr;
using testing::Latch;
using testing::make_prompt;
using testing::make_request;
using testing::ManualClock;
using testing::RecordingSink;

TEST(Batcher, StreamsWhatTheModelMakes) {
  for (const std::size_t n_stages : {1U, 2U, 3U}) {
    Grid grid({.n_stages = n_stages});
    grid.start();
    const auto sink = grid.send(make_request(make_prompt(40), 20));
    ASSERT_TRUE(sink->wait_for_end());
    const auto expected = grid.expected(make_prompt(40), 20);
    EXPECT_EQ(sink->tokens(), expected);
    EXPECT_EQ(sink->text(), grid.text_of(expected));
    ASSERT_TRUE(sink->finish());
    EXPECT_EQ(sink->finish()->usage.prompt_tokens, 40U);
    EXPECT_EQ(sink->finish()->usage.completion_tokens, expected.size());
    EXPECT_EQ(sink->finish()->usage.cached_prompt_tokens, 0U);
    EXPECT_GT(sink->finish()->prefill, Duration{});
    EXPECT_GT(sink->finish()->decode, Duration{});
  }
}

TEST(Batcher, GivesEachOfManyStreamsWhatItWouldGetAlone) {
  Grid grid(
      {.n_stages = 2,
       .options = {
           .context = 512, .parallel = 6, .groups = 2, .max_step_rows = 32, .prefill_chunk = 8}});
  grid.start();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  const auto prompt = [](Token i) { return make_prompt(static_cast<std::size_t>(1 + i * 3), i); };
  for (Token i = 0; i < 40; ++i) sinks.push_back(grid.send(make_request(prompt(i), 30)));
  for (Token i = 0; i < 40; ++i) {
    const auto& sink = *sinks[static_cast<std::size_t>(i)];
    ASSERT_TRUE(sink.wait_for_end());
    EXPECT_EQ(sink.tokens(), grid.expected(prompt(i), 30));
  }
}

TEST(Batcher, TakesRequestsBeforeItStarts) {
  Grid grid({});
  const auto sink = grid.send(make_request(make_prompt(4), 5));
  EXPECT_EQ(grid.batcher().status().waiting, 1U);
  grid.start();
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->tokens(), grid.expected(make_prompt(4), 5));
}

TEST(Batcher, RefusesWhatItCanNeverRun) {
  Grid grid({.options = {.context = 16, .parallel = 1}});
  const auto long_prompt = grid.refused(make_request(make_prompt(16), 5));
  EXPECT_EQ(long_prompt.error.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(long_prompt.error.param, "prompt");
  EXPECT_THAT(long_prompt.error.message, AllOf(HasSubstr("context of 16"), HasSubstr("16 tokens")));
  EXPECT_EQ(long_prompt.submission.request.prompt, make_prompt(16));
  ASSERT_TRUE(long_prompt.submission.sink);
  EXPECT_EQ(grid.refused(make_request({}, 5)).error.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(grid.refused(make_request({1}, 0)).error.param, "max_tokens");
}

TEST(Batcher, RefusesAPromptThatThePoolCannotHold) {
  Grid grid({.options = {.context = 100, .parallel = 4, .kv_cells = 20}});
  EXPECT_THAT(grid.refused(make_request(make_prompt(20), 5)).error.message,
              HasSubstr("context of 20"));
}

TEST(Batcher, HandsARequestBackWhenTheQueueIsFull) {
  Grid grid({.options = {.context = 64, .parallel = 1, .queue_capacity = 2}});
  grid.send(make_request({1}, 3));
  grid.send(make_request({2}, 3));
  const auto refusal = grid.refused(make_request({3}, 3));
  EXPECT_EQ(refusal.error.code, ErrorCode::kExhausted);
  ASSERT_TRUE(refusal.error.retry_after);
  EXPECT_GE(*refusal.error.retry_after, milliseconds(1000));
  EXPECT_EQ(refusal.submission.request.prompt, std::vector<Token>{3});
}

TEST(Batcher, TakesAsManyAsTheQueueHoldsAgainOnceSomeHaveRun) {
  Grid grid({.options = {.context = 64, .parallel = 1, .queue_capacity = 2}});
  const auto a = grid.send(make_request({1}, 3));
  grid.send(make_request({2}, 3));
  grid.start();
  ASSERT_TRUE(a->wait_for_end());
  EXPECT_TRUE(grid.send(make_request({3}, 3))->wait_for_end());
}

TEST(Batcher, ServesPrincipalsInTurn) {
  Grid grid({.options = {.context = 64, .parallel = 1}});
  std::vector<std::shared_ptr<RecordingSink>> crowd;
  for (Token i = 0; i < 20; ++i) {
    auto request = make_request({i + 1}, 30);
    request.principal = "crowd";
    crowd.push_back(grid.send(std::move(request)));
  }
  auto request = make_request({50}, 3);
  request.principal = "one";
  const auto one = grid.send(std::move(request));
  grid.start();
  ASSERT_TRUE(one->wait_for_end());
  const auto served = std::ranges::count_if(crowd, [](const auto& s) { return s->ended(); });
  EXPECT_LE(served, 2);
}

TEST(Batcher, EndsARequestWhoseDeadlinePassesInTheQueue) {
  const auto latch = std::make_shared<Latch>();
  GridSetup setup{.options = {.context = 64, .parallel = 1}};
  setup.fake.script = [=](FakeCall& call) { call.hang = latch; };
  Grid grid(setup);
  grid.start();
  const auto running = grid.send(make_request({1}, 3));
  auto late = make_request({2}, 3);
  late.deadline = testing::grid_clock().now() + milliseconds(20);
  const auto sink = grid.send(std::move(late));
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->error()->code, ErrorCode::kDeadline);
  EXPECT_EQ(sink->error_usage().prompt_tokens, 1U);
  latch->open();
  EXPECT_TRUE(running->wait_for_end());
}

TEST(Batcher, EndsARequestThatIsCancelledOrLeftInTheQueue) {
  const auto latch = std::make_shared<Latch>();
  GridSetup setup{.options = {.context = 64, .parallel = 1}};
  setup.fake.script = [=](FakeCall& call) { call.hang = latch; };
  Grid grid(setup);
  grid.start();
  const auto running = grid.send(make_request({1}, 3));
  std::stop_source stop;
  auto cancelled = make_request({2}, 3);
  cancelled.cancel = stop.get_token();
  const auto a = grid.send(std::move(cancelled));
  const auto b = grid.send(make_request({3}, 3));
  stop.request_stop();
  b->set_state(SinkState::kGone);
  ASSERT_TRUE(a->wait_for_end());
  ASSERT_TRUE(b->wait_for_end());
  EXPECT_EQ(a->error()->code, ErrorCode::kCancelled);
  EXPECT_EQ(b->error()->code, ErrorCode::kCancelled);
  latch->open();
  EXPECT_TRUE(running->wait_for_end());
}

TEST(Batcher, GoesOnWithASlowReaderAlthoughNothingElseHappens) {
  Grid grid({});
  grid.start();
  const auto sink = std::make_shared<RecordingSink>();
  sink->set_state_after(3, SinkState::kSlow);
  ASSERT_TRUE(grid.batcher().submit({make_request(make_prompt(4), 30), sink}));
  ASSERT_TRUE(eventually([&] { return grid.batcher().status().held == 1; }));
  EXPECT_EQ(sink->deltas().size(), 3U);
  sink->set_state(SinkState::kMore);
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->tokens(), grid.expected(make_prompt(4), 30));
}

TEST(Batcher, CancelsASlowReaderAtItsLimitAlthoughNothingElseHappens) {
  ManualClock clock;
  Grid grid({.clock = &clock});
  grid.start();
  const auto sink = std::make_shared<RecordingSink>();
  sink->set_state_after(3, SinkState::kSlow);
  ASSERT_TRUE(grid.batcher().submit({make_request(make_prompt(4), 30), sink}));
  ASSERT_TRUE(eventually([&] { return grid.batcher().status().held == 1; }));
  EXPECT_FALSE(sink->ended());
  clock.advance(seconds(61));
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->error()->code, ErrorCode::kCancelled);
}

TEST(Batcher, SlowReadersHoldUpNobody) {
  Grid grid({.options = {.context = 512, .parallel = 2}});
  grid.start();
  std::vector<std::shared_ptr<RecordingSink>> slow;
  for (Token i = 0; i < 6; ++i) {
    slow.push_back(std::make_shared<RecordingSink>());
    slow.back()->set_state_after(2, SinkState::kSlow);
    ASSERT_TRUE(grid.batcher().submit({make_request(make_prompt(5, i), 20), slow.back()}));
  }
  const auto quick = grid.send(make_request(make_prompt(9, 7), 20));
  ASSERT_TRUE(quick->wait_for_end());
  EXPECT_EQ(quick->tokens(), grid.expected(make_prompt(9, 7), 20));
  for (Token i = 0; i < 6; ++i) {
    slow[static_cast<std::size_t>(i)]->set_state(SinkState::kMore);
  }
  for (Token i = 0; i < 6; ++i) {
    const auto& sink = *slow[static_cast<std::size_t>(i)];
    // Its two deltas may come after this, and make it slow again.
    ASSERT_TRUE(eventually([&] {
      slow[static_cast<std::size_t>(i)]->set_state(SinkState::kMore);
      return sink.ended();
    }));
    EXPECT_EQ(sink.tokens(), grid.expected(make_prompt(5, i), 20));
  }
}

TEST(Batcher, TellsEveryoneWhenThePipelineFails) {
  GridSetup setup{.n_stages = 2, .options = {.context = 512, .parallel = 2, .groups = 2}};
  setup.fake.script = [](FakeCall& call) {
    if (call.stage == 1 && call.call == 20) call.error = Error{ErrorCode::kUnavailable, "gone"};
  };
  Grid grid(setup);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (Token i = 0; i < 6; ++i) sinks.push_back(grid.send(make_request(make_prompt(5, i), 400)));
  grid.start();
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait_for_end());
    ASSERT_TRUE(sink->error());
    EXPECT_EQ(sink->error()->code, ErrorCode::kUnavailable);
    EXPECT_THAT(sink->error()->message, AllOf(HasSubstr("stage 1"), HasSubstr("gone")));
  }
  const auto refusal = grid.refused(make_request({1}, 3));
  EXPECT_EQ(refusal.error.code, ErrorCode::kUnavailable);
  EXPECT_THAT(refusal.error.message, HasSubstr("gone"));
  ASSERT_TRUE(grid.batcher().failure());
  grid.batcher().drain(testing::grid_clock().now() + seconds(30));  // has nothing to wait for
}

TEST(Batcher, TellsEveryoneWhenAStageHangs) {
  const auto latch = std::make_shared<Latch>();
  GridSetup setup;
  setup.pipeline.step_deadline = milliseconds(50);
  setup.pipeline.hang_grace = milliseconds(50);
  setup.fake.script = [=](FakeCall& call) {
    if (call.call == 3) call.hang = latch;
  };
  Grid grid(setup);
  grid.start();
  const auto sink = grid.send(make_request(make_prompt(5), 100));
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_EQ(sink->error()->code, ErrorCode::kDeadline);
  EXPECT_EQ(sink->tokens().size(), 2U);
  grid.destroy_batcher();
  latch->open();
  EXPECT_TRUE(eventually([&] { return grid.factory().counters().alive == 0; }));
}

TEST(Batcher, DrainsWhatRunsAndWaitsAndRefusesTheRest) {
  GridSetup setup{.options = {.context = 512, .parallel = 1}};
  setup.fake.script = [](FakeCall& call) { call.delay = milliseconds(1); };
  Grid grid(setup);
  grid.start();
  const auto a = grid.send(make_request(make_prompt(5), 30));
  const auto b = grid.send(make_request(make_prompt(5, 1), 30));
  std::jthread drainer([&] { grid.batcher().drain(testing::grid_clock().now() + seconds(60)); });
  EXPECT_TRUE(eventually([&] {
    const auto sent =
        grid.batcher().submit({make_request({1}, 1), std::make_shared<RecordingSink>()});
    return !sent && sent.error().error.code == ErrorCode::kUnavailable;
  }));
  drainer.join();
  EXPECT_TRUE(a->ended());
  EXPECT_TRUE(b->ended());
  EXPECT_EQ(a->tokens(), grid.expected(make_prompt(5), 30));
  EXPECT_EQ(b->tokens(), grid.expected(make_prompt(5, 1), 30));
}

TEST(Batcher, EndsTheRestWhenTheDrainDeadlinePasses) {
  ManualClock clock;
  const auto latch = std::make_shared<Latch>();
  GridSetup setup{.options = {.context = 512, .parallel = 1}, .clock = &clock};
  setup.fake.script = [=](FakeCall& call) {
    if (call.call == 4) call.hang = latch;
  };
  Grid grid(setup);
  grid.start();
  const auto running = grid.send(make_request(make_prompt(5), 30));
  const auto waiting = grid.send(make_request(make_prompt(5, 1), 30));
  ASSERT_TRUE(running->wait_for_tokens(3));
  std::jthread drainer([&] { grid.batcher().drain(clock.now() + seconds(10)); });
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_FALSE(running->ended());
  clock.advance(seconds(11));
  ASSERT_TRUE(running->wait_for_end());
  ASSERT_TRUE(waiting->wait_for_end());
  EXPECT_EQ(running->error()->code, ErrorCode::kUnavailable);
  EXPECT_EQ(waiting->error()->code, ErrorCode::kUnavailable);
  drainer.join();
  latch->open();
}

TEST(Batcher, EndsEveryStreamWhenDestroyedUnderLoad) {
  for (int round = 0; round < 30; ++round) {
    Grid grid({.n_stages = 2, .options = {.context = 512, .parallel = 4, .groups = 2}});
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    grid.start();
    for (Token i = 0; i < 12; ++i) sinks.push_back(grid.send(make_request(make_prompt(5, i), 400)));
    sinks[0]->wait_for_tokens(static_cast<std::size_t>(round));
    grid.destroy_batcher();
    for (const auto& sink : sinks) EXPECT_EQ(sink->ends(), 1);
    EXPECT_EQ(grid.factory().counters().alive, 0);
  }
}

TEST(Batcher, EndsTheWaitingWhenDestroyedBeforeItStarted) {
  Grid grid({});
  const auto sink = grid.send(make_request({1}, 3));
  grid.destroy_batcher();
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(sink->error()->code, ErrorCode::kCancelled);
}

TEST(Batcher, EndsTheWaitingWhenDrainedBeforeItStarted) {
  Grid grid({});
  const auto sink = grid.send(make_request({1}, 3));
  grid.batcher().drain(testing::grid_clock().now());
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(sink->error()->code, ErrorCode::kUnavailable);
  EXPECT_EQ(grid.refused(make_request({1}, 3)).error.code, ErrorCode::kUnavailable);
}

TEST(Batcher, CountsWhatItDid) {
  Grid grid({});
  grid.start();
  ASSERT_TRUE(grid.send(make_request(make_prompt(30), 10))->wait_for_end());
  ASSERT_TRUE(grid.send(make_request(make_prompt(30), 10))->wait_for_end());
  ASSERT_TRUE(eventually([&] { return grid.batcher().status().generated_tokens == 20; }));
  const auto status = grid.batcher().status();
  EXPECT_EQ(status.prompt_tokens, 60U);
  EXPECT_EQ(status.cached_prompt_tokens, 29U);
  EXPECT_EQ(status.running, 0U);
  EXPECT_EQ(status.waiting, 0U);
  EXPECT_EQ(status.steps, 20U);
  EXPECT_EQ(grid.batcher().stages().at(0).steps, 20U);
}

TEST(Batcher, MeasuresForMetricsWhenGivenSome) {
  Metrics metrics;
  GridSetup setup;
  setup.options.metrics = &metrics;
  setup.options.model = "fake";
  Grid grid(setup);
  grid.start();
  ASSERT_TRUE(grid.send(make_request(make_prompt(30), 10))->wait_for_end());
  grid.destroy_batcher();
  const std::string text = metrics.expose();
  EXPECT_THAT(text, HasSubstr("gogrid_time_to_first_token_seconds_count{model=\"fake\"} 1"));
  EXPECT_THAT(text, HasSubstr("gogrid_inter_token_seconds_count{model=\"fake\"} 9"));
  EXPECT_THAT(text, HasSubstr("gogrid_queue_wait_seconds_count{model=\"fake\"} 1"));
}

// ---- thousands of streams of all kinds

struct Stress {
  std::uint32_t seed;
  std::size_t n_stages;
  std::uint32_t groups;
  std::uint32_t kv_cells;
};
class BatcherStress : public ::testing::TestWithParam<Stress> {};

TEST_P(BatcherStress, EveryStreamGetsExactlyItsTokensAndOneEnd) {
  const Stress& stress = GetParam();
  GridSetup setup{.n_stages = stress.n_stages,
                  .options = {.context = 128,
                              .parallel = 8,
                              .groups = stress.groups,
                              .kv_cells = stress.kv_cells,
                              .max_step_rows = 48,
                              .prefill_chunk = 16,
                              .queue_capacity = 64}};
  setup.fake.vocabulary = 97;
  Grid grid(setup);
  grid.start();
  struct Stream {
    std::vector<Token> prompt;
    std::uint32_t max_tokens = 0;
    std::stop_source stop;
    std::shared_ptr<RecordingSink> sink = std::make_shared<RecordingSink>();
    bool disturbed = false;
  };
  const auto client = [&](std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<Stream> streams(400);
    for (std::size_t i = 0; i < streams.size(); ++i) {
      Stream& stream = streams[i];
      stream.prompt = make_prompt(1 + random() % 90, static_cast<Token>(random() % 3));
      stream.max_tokens = static_cast<std::uint32_t>(1 + random() % 30);
      if (random() % 4 == 0) stream.sink->set_state_after(1 + random() % 3, SinkState::kSlow);
      for (;;) {
        auto request = make_request(stream.prompt, stream.max_tokens);
        request.principal = std::to_string(seed);
        request.cancel = stream.stop.get_token();
        auto sent = grid.batcher().submit({std::move(request), stream.sink});
        if (sent) break;
        ASSERT_EQ(sent.error().error.code, ErrorCode::kExhausted);
        std::this_thread::sleep_for(milliseconds(1));
        // Make those go on that wait for their reader.
        for (Stream& other : streams) {
          if (other.sink->state() == SinkState::kSlow) other.sink->set_state(SinkState::kMore);
        }
      }
      Stream& victim = streams[random() % (i + 1)];
      if (random() % 10 == 0) {
        victim.disturbed = true;
        if (random() % 2 == 0) {
          victim.stop.request_stop();
        } else {
          victim.sink->set_state(SinkState::kGone);
        }
      }
    }
    for (Stream& stream : streams) {
      ASSERT_TRUE(eventually([&] {
        if (stream.sink->state() == SinkState::kSlow) stream.sink->set_state(SinkState::kMore);
        return stream.sink->ended();
      }));
      EXPECT_EQ(stream.sink->ends(), 1);
      EXPECT_EQ(stream.sink->calls_after_end(), 0);
      EXPECT_EQ(stream.sink->concurrent_calls(), 0);
      const auto expected = grid.expected(stream.prompt, stream.max_tokens);
      const auto tokens = stream.sink->tokens();
      if (stream.sink->finish()) {
        EXPECT_EQ(tokens, expected);
      } else {
        EXPECT_TRUE(stream.disturbed) << stream.sink->error()->message;
        ASSERT_LE(tokens.size(), expected.size());
        EXPECT_TRUE(std::ranges::equal(tokens, std::span(expected).first(tokens.size())));
      }
    }
  };
  {
    std::vector<std::jthread> clients;
    for (std::uint32_t i = 0; i < 3; ++i) clients.emplace_back(client, stress.seed * 10 + i);
  }
  EXPECT_TRUE(eventually([&] { return grid.batcher().status().running == 0; }));
  EXPECT_EQ(grid.factory().counters().wrong_thread, 0);
  EXPECT_FALSE(grid.batcher().failure());
}

INSTANTIATE_TEST_SUITE_P(Seeds, BatcherStress,
                         ::testing::Values(Stress{1, 1, 1, 0}, Stress{2, 2, 2, 0},
                                           Stress{3, 3, 3, 0}, Stress{4, 1, 1, 300},
                                           Stress{5, 2, 2, 300}));

}  // namespace
}  // namespace gogrid

#include "batching/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "batching/harness.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeCall;
using testing::FakeOptions;
using testing::Harness;
using testing::HarnessSetup;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_prompt;
using testing::make_request;
using testing::RecordingSink;

std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Scheduler, HasNothingToPlanWithoutRequests) {
  Harness grid({});
  EXPECT_FALSE(grid.scheduler.plan(grid.clock.now()));
}

TEST(Scheduler, SendsThePromptInChunksWhileAnotherDecodes) {
  Harness grid({});
  const auto first = grid.send(make_request(make_prompt(3), 100));
  grid.round();
  grid.round();
  const auto second = grid.send(make_request(make_prompt(60, 1), 5));
  while (!second->ended()) grid.round();
  for (const StageInput& step : grid.history) EXPECT_LE(step.rows.size(), 17U);
  EXPECT_EQ(second->tokens(), grid.expected(make_prompt(60, 1), 5));
}

TEST(Scheduler, HoldsNoMoreSequencesInAStepThanAllowedAtThatMoment) {
  std::uint32_t most = 4;
  HarnessSetup setup;
  setup.options.max_batch = [&most] { return most; };
  Harness grid(setup);
  std::vector<std::vector<Token>> prompts;  // that no end token cuts short
  for (Token i = 0; prompts.size() < 4; ++i) {
    if (grid.expected(make_prompt(3, i), 40).size() == 40) prompts.push_back(make_prompt(3, i));
  }
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const auto& prompt : prompts) sinks.push_back(grid.send(make_request(prompt, 40)));
  grid.round();
  EXPECT_EQ(grid.history.back().outputs.size(), 4U);
  for (const std::uint32_t allowed : {2U, 1U, 3U, 4U}) {
    most = allowed;
    for (int i = 0; i < 8; ++i) {
      grid.round();
      EXPECT_EQ(grid.history.back().outputs.size(), allowed);
    }
  }
  ASSERT_TRUE(grid.run_all());
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(sinks[i]->tokens(), grid.expected(prompts[i], 40));
  EXPECT_THAT(grid.violations, IsEmpty());
}

TEST(Scheduler, SendsThePromptAtFullWidthWhenNobodyDecodes) {
  Harness grid({});
  grid.send(make_request(make_prompt(60), 2));
  grid.round();
  EXPECT_EQ(grid.history.at(0).rows.size(), 60U);
}

TEST(Scheduler, GivesARunningStreamATokenInEveryStepWhileALongPromptArrives) {
  Harness grid({});
  const auto running = grid.send(make_request(make_prompt(3), 60));
  grid.round();
  grid.round();
  grid.send(make_request(make_prompt(400, 1), 5));
  for (std::size_t before = running->tokens().size(); !running->ended(); ++before) {
    grid.round();
    EXPECT_EQ(running->tokens().size(), before + 1);
  }
}

TEST(Scheduler, SendsFewerPromptRowsWhenTheyTakeLongSoThatRunningStreamsGoOn) {
  Harness grid({.options = {.context = 1024,
                            .parallel = 2,
                            .max_step_rows = 128,
                            .prefill_chunk = 128,
                            .max_stall = milliseconds(250)}});
  grid.send(make_request(make_prompt(3), 200));
  for (int i = 0; i < 10; ++i) grid.round();  // more than a beginner
  const auto second = grid.send(make_request(make_prompt(800, 1), 5));
  grid.round();
  while (second->tokens().empty()) {
    const std::size_t rows = grid.history.back().rows.size();
    EXPECT_LE(rows, 66U);  // a tile, where 250 ms allow 83 rows, and the running stream's row
    grid.clock.advance(rows * milliseconds(3));
    grid.round();
  }
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(second->tokens(), grid.expected(make_prompt(800, 1), 5));
}

TEST(Scheduler, SendsMorePromptRowsWhileOnlyStreamsThatHaveJustBegunWait) {
  Harness grid({.options = {.context = 4096,
                            .parallel = 2,
                            .max_step_rows = 128,
                            .prefill_chunk = 128,
                            .max_stall = milliseconds(250)}});
  grid.send(make_request(make_prompt(3), 200));
  grid.round();
  const auto second = grid.send(make_request(make_prompt(2000, 1), 5));
  std::vector<std::size_t> rows;
  while (second->tokens().empty()) {
    grid.round();
    rows.push_back(grid.history.back().rows.size());
    grid.clock.advance(rows.back() * milliseconds(3));
  }
  // Not measured; then 750 ms allow 250 rows; then the first stream has made nine tokens.
  EXPECT_EQ(rows[0], 66U);
  EXPECT_EQ(rows[1], 128U);
  ASSERT_GT(rows.size(), 12U);
  EXPECT_EQ(rows[12], 66U);
}

TEST(Scheduler, LetsTheChunksOfOnePromptFollowEachOtherThroughTheStages) {
  Harness grid(
      {.n_stages = 3,
       .options = {
           .context = 512, .parallel = 3, .groups = 3, .max_step_rows = 64, .prefill_chunk = 16}});
  const auto sink = grid.send(make_request(make_prompt(100), 5));
  grid.admit();
  while (grid.submit()) {
  }
  EXPECT_EQ(grid.in_flight.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(grid.in_flight[i].rows.size(), 16U);
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->tokens(), grid.expected(make_prompt(100), 5));
  EXPECT_THAT(grid.violations, IsEmpty());
}

TEST(Scheduler, EndsAPromptWhoseChunksAreUnderWay) {
  Harness grid({.n_stages = 2,
                .options = {.context = 512, .parallel = 2, .groups = 2, .prefill_chunk = 16}});
  const auto gone = grid.send(make_request(make_prompt(200), 5));
  grid.round();
  gone->set_state(SinkState::kGone);
  grid.round();
  EXPECT_EQ(gone->ends(), 1);
  const auto next = grid.send(make_request(make_prompt(200), 5));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(next->tokens(), grid.expected(make_prompt(200), 5));
  EXPECT_THAT(grid.violations, IsEmpty());
}

TEST(Scheduler, EndsAtTheModelsEndTokenWithoutItsText) {
  Harness grid({});
  // A prompt whose generation meets the end token early.
  for (Token salt = 0;; ++salt) {
    const auto expected = grid.expected(make_prompt(10, salt), 200);
    if (expected.size() >= 200) continue;
    const auto sink = grid.send(make_request(make_prompt(10, salt), 200));
    ASSERT_TRUE(grid.run_all());
    EXPECT_EQ(sink->tokens(), expected);
    EXPECT_EQ(sink->finish()->reason, FinishReason::kStop);
    EXPECT_EQ(sink->finish()->usage.completion_tokens, expected.size());
    return;
  }
}

TEST(Scheduler, EndsAtTheContextsEnd) {
  Harness grid({.options = {.context = 16, .parallel = 1}, .fake = {.vocabulary = 50'000}});
  const auto sink = grid.send(make_request(make_prompt(10), 100));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->tokens().size(), 6U);
  EXPECT_EQ(sink->finish()->reason, FinishReason::kLength);
}

TEST(Scheduler, TakesAPromptThatLeavesRoomForOneToken) {
  Harness grid({.options = {.context = 16, .parallel = 1}, .fake = {.vocabulary = 50'000}});
  const auto sink = grid.send(make_request(make_prompt(15), 100));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->tokens(), grid.expected(make_prompt(15), 1));
}

TEST(Scheduler, ComputesASharedBeginningOnce) {
  Harness grid({});
  grid.send(make_request(make_prompt(50), 4));
  ASSERT_TRUE(grid.run_all());
  const auto before = grid.factory.counters().rows.load();
  const auto again = joined(make_prompt(50), {3, 1, 4});
  const auto sink = grid.send(make_request(again, 4));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->tokens(), grid.expected(again, 4));
  EXPECT_EQ(sink->finish()->usage.cached_prompt_tokens, 50U);
  EXPECT_LE(grid.factory.counters().rows - before, 3U + 4U);
}

TEST(Scheduler, ComputesTheLastTokenOfAKnownPromptAgain) {
  Harness grid({});
  const auto first = grid.send(make_request(make_prompt(50), 4));
  ASSERT_TRUE(grid.run_all());
  const auto sink = grid.send(make_request(make_prompt(50), 4));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->tokens(), first->tokens());
  EXPECT_EQ(sink->finish()->usage.cached_prompt_tokens, 49U);
}

TEST(Scheduler, ComputesAPrefixThatManyAskForAtOnceOnce) {
  for (const std::uint32_t groups : {1U, 2U}) {
    Harness grid({.n_stages = 2,
                  .options = {.context = 1024,
                              .parallel = 8,
                              .groups = groups,
                              .max_step_rows = 128,
                              .prefill_chunk = 64}});
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (Token i = 0; i < 8; ++i) {
      sinks.push_back(grid.send(make_request(joined(make_prompt(500), {i + 1, 5}), 3)));
    }
    ASSERT_TRUE(grid.run_all());
    for (Token i = 0; i < 8; ++i) {
      EXPECT_EQ(sinks[static_cast<std::size_t>(i)]->tokens(),
                grid.expected(joined(make_prompt(500), {i + 1, 5}), 3));
    }
    // Both stages: the prefix once, eight tails, at most two generated rows each.
    EXPECT_LE(grid.factory.counters().rows, 2U * (500U + 8U * 2U + 8U * 2U));
    EXPECT_EQ(grid.scheduler.status().cached_prompt_tokens, 7U * 500U);
  }
}

TEST(Scheduler, ReusesNothingWhenToldSo) {
  HarnessSetup setup;
  setup.options.prefix_reuse = false;
  Harness grid(setup);
  for (int i = 0; i < 3; ++i) {
    const auto sink = grid.send(make_request(make_prompt(200), 4));
    ASSERT_TRUE(grid.run_all());
    EXPECT_EQ(sink->finish()->usage.cached_prompt_tokens, 0U);
  }
}

TEST(Scheduler, ReusesOnlyWholeSequencesWhereTheCacheCannotBeCut) {
  HarnessSetup setup;
  setup.options.can_truncate = false;
  Harness grid(setup);
  const auto first = grid.send(make_request(make_prompt(30), 6));
  ASSERT_TRUE(grid.run_all());
  // The turn after: prompt, answer, and more.
  const auto next = joined(joined(make_prompt(30), first->tokens()), {9, 9});
  const auto second = grid.send(make_request(next, 4));
  ASSERT_TRUE(grid.run_all());
  EXPECT_GE(second->finish()->usage.cached_prompt_tokens, 35U);
  EXPECT_EQ(second->tokens(), grid.expected(next, 4));
  // Only a part in common: nothing is reused.
  const auto third = grid.send(make_request(joined(make_prompt(30), {7}), 4));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(third->finish()->usage.cached_prompt_tokens, 0U);
}

TEST(Scheduler, NeverTruncatesToAPartWhereTheCacheCannotBeCut) {
  HarnessSetup setup{.n_stages = 2};
  setup.options.can_truncate = false;
  Harness grid(setup);
  std::mt19937 random(5);
  for (int i = 0; i < 60; ++i) {
    grid.send(make_request(make_prompt(random() % 40 + 1, static_cast<Token>(random() % 3)),
                           static_cast<std::uint32_t>(random() % 10 + 1)));
    if (i % 3 == 0) grid.round();
  }
  ASSERT_TRUE(grid.run_all());
  std::map<SlotId, std::int32_t> length;
  for (const StageInput& step : grid.history) {
    for (const KvOp& op : step.kv_ops) {
      const bool copies = op.kind == KvOp::Kind::kCopy;
      const std::int32_t held = length[copies ? op.from : op.slot];
      EXPECT_TRUE(op.length == 0 || op.length == held);
      length[op.slot] = op.length;
    }
    for (const StepRow& row : step.rows) length[row.slot] = row.position + 1;
  }
}

TEST(Scheduler, StopsAtAStopStringAndDropsTheTokenUnderWay) {
  Harness grid({});
  const auto expected = grid.expected(make_prompt(5), 40);
  ASSERT_GE(expected.size(), 12U);
  std::string text;
  for (const Token token : expected) text += grid.vocabulary.piece(token, false);
  auto request = make_request(make_prompt(5), 40);
  request.stop = {text.substr(6, 3)};
  const auto cut = text.find(request.stop[0]);
  const auto sink = grid.send(std::move(request));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->text(), text.substr(0, cut));
  EXPECT_EQ(sink->finish()->reason, FinishReason::kStop);
  EXPECT_EQ(sink->tokens().size(), cut);
  EXPECT_EQ(sink->finish()->usage.completion_tokens, cut + 3);
  EXPECT_EQ(sink->calls_after_end(), 0);
}

TEST(Scheduler, SendsTheNextStepOffBeforeItWritesTheLast) {
  Harness grid({});
  const auto sink = grid.send(make_request(make_prompt(5), 40));
  grid.round();
  ASSERT_TRUE(grid.complete());
  EXPECT_TRUE(grid.submit());
  EXPECT_THAT(sink->tokens(), IsEmpty());
  grid.look();
  EXPECT_EQ(sink->tokens().size(), 1U);
}

TEST(Scheduler, FreesTheSlotOfAReaderThatLeftWithinOneStep) {
  Harness grid({.options = {.context = 512, .parallel = 1}});
  const auto first = grid.send(make_request(make_prompt(5), 400));
  for (int i = 0; i < 5; ++i) grid.round();
  const auto second = grid.send(make_request(make_prompt(5, 1), 3));
  first->set_state(SinkState::kGone);
  grid.round();  // notices; a step is under way
  grid.round();  // it comes back, the second takes the slot
  EXPECT_EQ(grid.history.back().rows.size(), 5U);
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(first->error()->code, ErrorCode::kCancelled);
  EXPECT_EQ(second->tokens(), grid.expected(make_prompt(5, 1), 3));
}

TEST(Scheduler, HoldsTheSequenceOfASlowReaderAndGoesOnWhenItReads) {
  Harness grid({});
  const auto sink = grid.send(make_request(make_prompt(5), 30));
  sink->set_state_after(3, SinkState::kSlow);
  for (int i = 0; i < 50; ++i) grid.round();
  EXPECT_EQ(sink->deltas().size(), 3U);
  EXPECT_EQ(grid.scheduler.status().held, 1U);
  sink->set_state(SinkState::kMore);
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->tokens(), grid.expected(make_prompt(5), 30));
}

TEST(Scheduler, CancelsAReaderThatIsSlowForTooLong) {
  Harness grid({});
  const auto sink = grid.send(make_request(make_prompt(5), 30));
  sink->set_state_after(3, SinkState::kSlow);
  for (int i = 0; i < 10; ++i) grid.round();
  grid.clock.advance(seconds(59));
  grid.round();
  EXPECT_FALSE(sink->ended());
  grid.clock.advance(seconds(1));
  grid.round();
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(sink->error()->code, ErrorCode::kCancelled);
  EXPECT_EQ(grid.scheduler.open_sequences(), 0U);
}

TEST(Scheduler, TakesTheSlotOfASlowReaderWhenSomebodyWaits) {
  Harness grid({.options = {.context = 512, .parallel = 1}});
  const auto slow = grid.send(make_request(make_prompt(5), 30));
  slow->set_state_after(3, SinkState::kSlow);
  for (int i = 0; i < 10; ++i) grid.round();
  const auto other = grid.send(make_request(make_prompt(50, 1), 10));
  for (int i = 0; i < 40 && !other->ended(); ++i) grid.round();
  EXPECT_EQ(other->tokens(), grid.expected(make_prompt(50, 1), 10));
  EXPECT_FALSE(slow->ended());
  slow->set_state(SinkState::kMore);
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(slow->tokens(), grid.expected(make_prompt(5), 30));
  EXPECT_EQ(slow->finish()->usage.prompt_tokens, 5U);
}

TEST(Scheduler, EndsASequenceAtItsDeadline) {
  Harness grid({});
  auto request = make_request(make_prompt(5), 400);
  request.deadline = grid.clock.now() + seconds(10);
  const auto sink = grid.send(std::move(request));
  for (int i = 0; i < 5; ++i) grid.round();
  EXPECT_FALSE(sink->ended());
  grid.clock.advance(seconds(10));
  grid.round();
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(sink->error()->code, ErrorCode::kDeadline);
  EXPECT_GE(sink->error_usage().completion_tokens, 3U);
}

TEST(Scheduler, EndsACancelledSequenceWithinOneRound) {
  Harness grid({});
  std::stop_source stop;
  auto request = make_request(make_prompt(5), 400);
  request.cancel = stop.get_token();
  const auto sink = grid.send(std::move(request));
  for (int i = 0; i < 5; ++i) grid.round();
  stop.request_stop();
  grid.round();
  EXPECT_EQ(sink->error()->code, ErrorCode::kCancelled);
}

TEST(Scheduler, MeasuresQueuePrefillAndDecode) {
  Harness grid({.options = {.context = 512, .parallel = 1}, .fake = {.vocabulary = 50'000}});
  const auto sink = grid.send(make_request(make_prompt(5), 3));
  grid.clock.advance(seconds(2));
  grid.round();
  for (const int wait : {3, 4, 5}) {
    grid.clock.advance(seconds(wait));
    grid.round();
  }
  ASSERT_TRUE(sink->finish());
  EXPECT_EQ(sink->finish()->queued, seconds(2));
  EXPECT_EQ(sink->finish()->prefill, seconds(3));
  EXPECT_EQ(sink->finish()->decode, seconds(9));
}

TEST(Scheduler, FillsTheBytesOfLogProbabilities) {
  Harness grid({.fake = {.vocabulary = 50'000}});
  auto request = make_request(make_prompt(5), 3);
  request.sampling.top_logprobs = 2;
  const auto sink = grid.send(std::move(request));
  ASSERT_TRUE(grid.run_all());
  ASSERT_EQ(sink->events().size(), 3U);
  for (const TokenEvent& event : sink->events()) {
    EXPECT_EQ(event.chosen.bytes, grid.vocabulary.piece(event.chosen.token, false));
    ASSERT_EQ(event.top.size(), 2U);
    EXPECT_EQ(event.top[1].bytes, "b");
  }
}

TEST(Scheduler, HandsTheHistoryOnOnlyWhereItIsPenalized) {
  Harness grid({});
  grid.send(make_request(make_prompt(5), 3));
  auto penalized = make_request(make_prompt(6, 1), 3);
  penalized.sampling.frequency_penalty = 0.5F;
  grid.send(std::move(penalized));
  ASSERT_TRUE(grid.run_all());
  for (const StageInput& step : grid.history) {
    std::size_t next = 0;
    for (const StepRow& row : step.rows) {
      if (!row.wants_output) continue;
      const OutputSpec& spec = step.outputs.at(next++);
      const bool is_penalized = spec.sampling->penalizes();
      EXPECT_EQ(spec.history.size(), is_penalized ? std::size_t(row.position) + 1 : 0U);
      EXPECT_EQ(spec.prompt_length, is_penalized ? 6U : 5U);
    }
  }
}

// ---- slots side by side

std::vector<SlotId> slots_of_last_step(const Harness& grid) {
  std::vector<SlotId> slots;
  for (const StepRow& row : grid.history.back().rows) slots.push_back(row.slot);
  return slots;
}

TEST(Scheduler, MovesSequencesTogetherWhenOthersHaveEnded) {
  Harness grid(
      {.n_stages = 2, .options = {.context = 512, .parallel = 6}, .fake = {.vocabulary = 50'000}});
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (Token i = 0; i < 6; ++i) {
    sinks.push_back(grid.send(make_request(make_prompt(5, i), i % 2 == 0 ? 200 : 10)));
  }
  for (int i = 0; i < 14; ++i) grid.round();
  EXPECT_THAT(slots_of_last_step(grid), ::testing::ElementsAre(0, 2, 4));
  for (int i = 0; i < 12; ++i) grid.round();
  EXPECT_THAT(slots_of_last_step(grid), ::testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(grid.factory.counters().copies, 2U);  // one move, on two stages
  ASSERT_TRUE(grid.run_all());
  for (Token i = 0; i < 6; ++i) {
    EXPECT_EQ(sinks[static_cast<std::size_t>(i)]->tokens(),
              grid.expected(make_prompt(5, i), i % 2 == 0 ? 200 : 10));
  }
}

TEST(Scheduler, DoesNotMoveWhatWillSoonEnd) {
  Harness grid({.options = {.context = 512, .parallel = 3}, .fake = {.vocabulary = 50'000}});
  for (Token i = 0; i < 3; ++i) grid.send(make_request(make_prompt(5, i), i == 1 ? 5 : 40));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(grid.factory.counters().copies, 0U);
}

TEST(Scheduler, DoesNotMoveWithinAPool) {
  Harness grid({.options = {.context = 512, .parallel = 3, .kv_cells = 1000},
                .fake = {.vocabulary = 50'000}});
  for (Token i = 0; i < 3; ++i) grid.send(make_request(make_prompt(5, i), i == 1 ? 5 : 100));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(grid.factory.counters().copies, 0U);
}

TEST(Scheduler, MovesAgainWhatFailedAfterAMove) {
  HarnessSetup setup{.n_stages = 2, .options = {.context = 512, .parallel = 3}};
  setup.fake.vocabulary = 50'000;
  bool failed = false;
  setup.fake.script = [&](FakeCall& call) {
    const bool moves = std::ranges::contains(call.input->kv_ops, KvOp::Kind::kCopy, &KvOp::kind);
    if (call.stage != 1 || !moves || failed) return;
    failed = true;  // after stage 0 has copied, before stage 1 has
    call.error = Error{ErrorCode::kExhausted, "full"};
  };
  Harness grid(setup);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (Token i = 0; i < 3; ++i) {
    sinks.push_back(grid.send(make_request(make_prompt(5, i), i == 1 ? 5 : 100)));
  }
  ASSERT_TRUE(grid.run_all());
  EXPECT_TRUE(failed);
  for (Token i = 0; i < 3; ++i) {
    EXPECT_EQ(sinks[static_cast<std::size_t>(i)]->tokens(),
              grid.expected(make_prompt(5, i), i == 1 ? 5 : 100));
  }
}

// ---- pool mode

TEST(Scheduler, PreemptsTheYoungestWhenThePoolIsFullAndLosesNoToken) {
  Harness grid({.options = {.context = 200,
                            .parallel = 4,
                            .kv_cells = 120,
                            .max_step_rows = 64,
                            .prefill_chunk = 16},
                .fake = {.vocabulary = 50'000}});
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (Token i = 0; i < 4; ++i) sinks.push_back(grid.send(make_request(make_prompt(10, i), 60)));
  ASSERT_TRUE(grid.run_all());
  for (Token i = 0; i < 4; ++i) {
    const auto& sink = *sinks[static_cast<std::size_t>(i)];
    EXPECT_EQ(sink.tokens(), grid.expected(make_prompt(10, i), 60));
    EXPECT_EQ(sink.finish()->usage.prompt_tokens, 10U);
    EXPECT_EQ(sink.finish()->usage.completion_tokens, 60U);
    EXPECT_EQ(sink.finish()->usage.cached_prompt_tokens, 0U);
  }
  EXPECT_GT(grid.scheduler.status().preemptions, 0U);
}

TEST(Scheduler, EndsASequenceThatFillsThePoolAlone) {
  Harness grid(
      {.options = {.context = 200, .parallel = 2, .kv_cells = 50}, .fake = {.vocabulary = 50'000}});
  const auto sink = grid.send(make_request(make_prompt(10), 1000));
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(sink->finish()->reason, FinishReason::kLength);
  EXPECT_EQ(sink->tokens().size(), 40U);
}

TEST(Scheduler, ForgetsKeptPrefixesBeforeItPreempts) {
  Harness grid({.options = {.context = 100, .parallel = 4, .kv_cells = 130},
                .fake = {.vocabulary = 50'000}});
  for (Token i = 0; i < 8; ++i) {
    const auto sink = grid.send(make_request(make_prompt(60, i), 30));
    ASSERT_TRUE(grid.run_all());
    EXPECT_EQ(sink->tokens(), grid.expected(make_prompt(60, i), 30));
  }
  EXPECT_EQ(grid.scheduler.status().preemptions, 0U);
}

// ---- what goes wrong

TEST(Scheduler, ReplaysAStepThatFoundNoSpace) {
  HarnessSetup setup{.n_stages = 2};
  setup.fake.vocabulary = 50'000;
  setup.fake.script = [](FakeCall& call) {
    if (call.stage == 1 && call.call % 5 == 0) call.error = Error{ErrorCode::kExhausted, "full"};
  };
  Harness grid(setup);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (Token i = 0; i < 3; ++i) sinks.push_back(grid.send(make_request(make_prompt(20, i), 12)));
  ASSERT_TRUE(grid.run_all());
  for (Token i = 0; i < 3; ++i) {
    EXPECT_EQ(sinks[static_cast<std::size_t>(i)]->tokens(), grid.expected(make_prompt(20, i), 12));
  }
}

TEST(Scheduler, GivesUpASequenceThatNeverFindsSpace) {
  HarnessSetup setup;
  setup.fake.script = [](FakeCall& call) { call.error = Error{ErrorCode::kExhausted, "full"}; };
  Harness grid(setup);
  const auto a = grid.send(make_request(make_prompt(5)));
  const auto b = grid.send(make_request(make_prompt(5, 1)));
  ASSERT_TRUE(grid.run_all(1000));
  EXPECT_EQ(a->error()->code, ErrorCode::kExhausted);
  EXPECT_EQ(b->error()->code, ErrorCode::kExhausted);
}

TEST(Scheduler, EndsOnlyTheSequenceWhoseStateIsNan) {
  for (const std::size_t stage : {0U, 1U}) {  // a cut, or the logits
    HarnessSetup setup{.n_stages = 2};
    setup.fake.vocabulary = 50'000;
    setup.fake.script = [=](FakeCall& call) {
      if (call.stage == stage && call.call == 3) call.nan_rows = {1};
    };
    Harness grid(setup);
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (Token i = 0; i < 3; ++i) sinks.push_back(grid.send(make_request(make_prompt(5, i), 12)));
    ASSERT_TRUE(grid.run_all());
    ASSERT_TRUE(sinks[1]->error());
    EXPECT_EQ(sinks[1]->error()->code, ErrorCode::kInternal);
    EXPECT_THAT(sinks[1]->error()->message, HasSubstr("NaN"));
    EXPECT_EQ(sinks[0]->tokens(), grid.expected(make_prompt(5, 0), 12));
    EXPECT_EQ(sinks[2]->tokens(), grid.expected(make_prompt(5, 2), 12));
    // What it left in the slot is not reused.
    const auto again = grid.send(make_request(make_prompt(5, 1), 12));
    ASSERT_TRUE(grid.run_all());
    EXPECT_EQ(again->tokens(), grid.expected(make_prompt(5, 1), 12));
  }
}

TEST(Scheduler, EndsTheSequencesOfACorruptStepAndNoOther) {
  HarnessSetup setup{.n_stages = 2, .options = {.context = 512, .parallel = 4, .groups = 2}};
  setup.fake.vocabulary = 50'000;
  setup.fake.script = [](FakeCall& call) {
    const bool of_first_group = !call.input->rows.empty() && call.input->rows[0].slot < 2;
    if (call.stage == 1 && call.call > 6 && of_first_group) {
      call.error = Error{ErrorCode::kCorrupt, "sizes"};
    }
  };
  Harness grid(setup);
  const auto a = grid.send(make_request(make_prompt(5, 0), 20));  // slot 0
  const auto b = grid.send(make_request(make_prompt(5, 1), 20));  // slot 2, the other group
  ASSERT_TRUE(grid.run_all());
  EXPECT_EQ(a->error()->code, ErrorCode::kCorrupt);
  EXPECT_EQ(b->tokens(), grid.expected(make_prompt(5, 1), 20));
}

TEST(Scheduler, HandsTheEndOfThePipelineUp) {
  HarnessSetup setup;
  setup.fake.script = [](FakeCall& call) { call.error = Error{ErrorCode::kUnavailable, "gone"}; };
  Harness grid(setup);
  const auto sink = grid.send(make_request(make_prompt(5)));
  grid.admit();
  ASSERT_TRUE(grid.submit());
  const auto status = grid.complete();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  grid.scheduler.end_all(status.error());
  grid.write();
  EXPECT_EQ(sink->error()->code, ErrorCode::kUnavailable);
}

// ---- everything at once

struct Chaos {
  std::uint32_t seed;
  std::size_t n_stages;
  std::uint32_t groups;
  std::uint32_t kv_cells;
  bool faults;
  bool can_truncate = true;
  std::uint32_t max_batch = 0;
};

class SchedulerChaos : public ::testing::TestWithParam<Chaos> {};

TEST_P(SchedulerChaos, EveryStreamGetsExactlyItsTokensAndOneEnd) {
  const Chaos& chaos = GetParam();
  std::mt19937 random(chaos.seed);
  const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
  HarnessSetup setup{.n_stages = chaos.n_stages};
  setup.options = {.context = 160,
                   .parallel = static_cast<std::uint32_t>(chaos.groups + random() % 5),
                   .groups = chaos.groups,
                   .kv_cells = chaos.kv_cells,
                   .max_step_rows = static_cast<std::uint32_t>(8 + random() % 60),
                   .prefill_chunk = static_cast<std::uint32_t>(4 + random() % 20),
                   .can_truncate = chaos.can_truncate};
  if (chaos.max_batch > 0) setup.options.max_batch = [most = chaos.max_batch] { return most; };
  std::mt19937 faults(chaos.seed + 1);
  if (chaos.faults) {
    setup.fake.script = [&](FakeCall& call) {
      const auto what = faults() % 300;
      if (what < 9) call.error = Error{ErrorCode::kExhausted, "full"};
      if (what == 9) call.error = Error{ErrorCode::kCorrupt, "sizes"};
      const std::size_t rows =
          call.stage + 1 == chaos.n_stages ? call.input->outputs.size() : call.input->rows.size();
      if (what == 10 && rows > 0) call.nan_rows = {faults() % rows};
    };
  }
  Harness grid(setup);
  struct Stream {
    std::vector<Token> prompt;
    std::uint32_t max_tokens;
    std::stop_source stop;
    std::shared_ptr<RecordingSink> sink;
    bool disturbed = false;
  };
  std::vector<Stream> streams;
  const auto disturb = [&](Stream& stream) {
    switch (random() % 5) {
      case 0:
        stream.disturbed = true;
        stream.stop.request_stop();
        break;
      case 1:
        stream.disturbed = true;
        stream.sink->set_state(SinkState::kGone);
        break;
      case 2:
        stream.sink->set_state(SinkState::kSlow);
        break;
      default:
        if (stream.sink->state() == SinkState::kSlow) stream.sink->set_state(SinkState::kMore);
    }
  };
  for (int tick = 0; tick < 1500; ++tick) {
    if (chance(12)) {
      Stream stream;
      const std::uint32_t room = grid.scheduler.context() - 1;
      stream.prompt = make_prompt(std::min<std::size_t>(1 + random() % 120, room),
                                  static_cast<Token>(random() % 4));
      stream.max_tokens = static_cast<std::uint32_t>(1 + random() % (chance(20) ? 120 : 40));
      auto request = make_request(stream.prompt, stream.max_tokens);
      request.cancel = stream.stop.get_token();
      stream.sink = grid.send(std::move(request));
      streams.push_back(std::move(stream));
    }
    if (!streams.empty() && chance(10)) disturb(streams[random() % streams.size()]);
    grid.clock.advance(milliseconds(random() % 50));
    if (!grid.in_flight.empty() && chance(70)) (void)grid.complete();
    if (chance(90)) grid.admit();
    if (chance(90)) {
      while (grid.submit()) {
      }
    }
    if (chance(90)) grid.look();
  }
  for (Stream& stream : streams) {
    if (stream.sink->state() == SinkState::kSlow) stream.sink->set_state(SinkState::kMore);
  }
  ASSERT_TRUE(grid.run_all()) << "somebody makes no progress";
  EXPECT_THAT(grid.violations, IsEmpty());
  std::size_t whole = 0;
  for (const Stream& stream : streams) {
    EXPECT_EQ(stream.sink->ends(), 1);
    EXPECT_EQ(stream.sink->calls_after_end(), 0);
    const auto expected = grid.expected(stream.prompt, stream.max_tokens);
    const auto tokens = stream.sink->tokens();
    if (stream.sink->finish()) {
      EXPECT_EQ(tokens, expected);
      EXPECT_EQ(stream.sink->finish()->usage.prompt_tokens, stream.prompt.size());
      EXPECT_EQ(stream.sink->finish()->usage.completion_tokens, tokens.size());
      ++whole;
    } else {
      ASSERT_LE(tokens.size(), expected.size());
      EXPECT_TRUE(std::ranges::equal(tokens, std::span(expected).first(tokens.size())));
      EXPECT_TRUE(stream.disturbed || chaos.faults) << stream.sink->error()->message;
    }
  }
  EXPECT_GT(whole, streams.size() / 4);
  EXPECT_EQ(grid.scheduler.status().running, 0U);
}

std::vector<Chaos> all_chaos() {
  std::vector<Chaos> cases;
  std::uint32_t seed = 1;
  for (const std::size_t n_stages : {1U, 2U, 3U}) {
    for (const std::uint32_t groups : {1U, 2U, 3U}) {
      for (const std::uint32_t kv_cells : {0U, 130U, 260U}) {
        for (const bool faults : {false, true}) {
          cases.push_back({seed++, n_stages, groups, kv_cells, faults});
          cases.push_back({seed++, n_stages, groups, kv_cells, faults, true, 2});
          cases.push_back({seed++, n_stages, groups, kv_cells, faults, false});
        }
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerChaos, ::testing::ValuesIn(all_chaos()),
                         [](const auto& param) {
                           const Chaos& c = param.param;
                           return "s" + std::to_string(c.n_stages) + "g" +
                                  std::to_string(c.groups) + "c" + std::to_string(c.kv_cells) +
                                  (c.faults ? "faults" : "") + (c.can_truncate ? "" : "whole") +
                                  "b" + std::to_string(c.max_batch) + "seed" +
                                  std::to_string(c.seed);
                         });

}  // namespace
}  // namespace gogrid

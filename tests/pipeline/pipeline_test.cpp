#include "pipeline/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/bounded_queue.h"
#include "support/fake_stage.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::fake_next_token;
using testing::fake_specs;
using testing::FakeCall;
using testing::FakeOptions;
using testing::FakeStageFactory;
using ::testing::HasSubstr;
using testing::Latch;
using testing::ManualClock;

constexpr std::uint32_t kVocabulary = 97;
const SteadyClock kClock;

// Results of a pipeline, in the order they came.
class Results {
 public:
  StepDone done() {
    return [this](StepResult result) { queue_.try_push(std::move(result)); };
  }
  std::optional<StepResult> next() {
    return queue_.pop_until(std::chrono::steady_clock::now() + seconds(30));
  }
  std::size_t size() const { return queue_.size(); }

 private:
  BoundedQueue<StepResult> queue_{10'000};
};

StageInput rows_of(SlotId slot, const std::vector<Token>& tokens, std::int32_t first = 0) {
  StageInput input;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    input.rows.push_back({slot, first + static_cast<std::int32_t>(i), tokens[i], false});
  }
  input.rows.back().wants_output = true;
  input.outputs.emplace_back();
  return input;
}

Result<std::unique_ptr<Pipeline>> build(std::size_t n_stages, StageFactory& factory,
                                        Results& results, PipelineOptions options = {},
                                        const Clock& clock = kClock) {
  return Pipeline::build(fake_specs(n_stages), factory, options, clock, results.done(), {}, {});
}

TEST(Pipeline, TakesAStepThroughAllStages) {
  for (const std::size_t n_stages : {1U, 2U, 3U, 5U}) {
    FakeStageFactory factory;
    Results results;
    auto pipeline = build(n_stages, factory, results);
    ASSERT_TRUE(pipeline) << pipeline.error().message;
    const auto number = (*pipeline)->submit(rows_of(1, {5, 6, 7}));
    ASSERT_TRUE(number);
    const auto result = results.next();
    ASSERT_TRUE(result && result->output);
    EXPECT_EQ(result->step, *number);
    ASSERT_EQ(result->output->sampled.size(), 1U);
    EXPECT_EQ(result->output->sampled[0].event.chosen.token,
              fake_next_token(std::vector<Token>{5, 6, 7}, n_stages, kVocabulary));
  }
}

TEST(Pipeline, MakesCallsAndDestroysEachStageOnItsOwnThread) {
  FakeStageFactory factory;
  Results results;
  {
    auto pipeline = build(3, factory, results);
    ASSERT_TRUE(pipeline);
    EXPECT_EQ(factory.counters().alive, 3);
    ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
    ASSERT_TRUE(results.next());
  }
  EXPECT_EQ(factory.counters().alive, 0);
  EXPECT_EQ(factory.counters().wrong_thread, 0);
}

TEST(Pipeline, BuildsAllStagesOrNone) {
  FakeOptions options;
  options.load = [](const StageSpec& spec, auto&, auto) -> Status {
    if (spec.layers.first == 1) return fail(ErrorCode::kExhausted, "no memory on fake1");
    return {};
  };
  FakeStageFactory factory(options);
  Results results;
  const auto pipeline = build(3, factory, results);
  ASSERT_FALSE(pipeline);
  EXPECT_EQ(pipeline.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(pipeline.error().message,
              AllOf(HasSubstr("stage 1 (layers 1-2 on fake1)"), HasSubstr("no memory on fake1")));
  EXPECT_EQ(factory.counters().alive, 0);
}

TEST(Pipeline, TriesALoadAgainThatMayWorkLater) {
  std::atomic<int> tries = 0;
  FakeOptions options;
  options.load = [&](const StageSpec&, auto&, auto) -> Status {
    if (++tries < 3) return fail(ErrorCode::kUnavailable, "node away");
    return {};
  };
  FakeStageFactory factory(options);
  Results results;
  EXPECT_TRUE(build(1, factory, results));
  EXPECT_EQ(tries, 3);
}

TEST(Pipeline, GivesUpALoadAfterThreeTries) {
  std::atomic<int> tries = 0;
  FakeOptions options;
  options.load = [&](const StageSpec&, auto&, auto) -> Status {
    ++tries;
    return fail(ErrorCode::kIo, "disk");
  };
  FakeStageFactory factory(options);
  Results results;
  EXPECT_EQ(build(1, factory, results).error().code, ErrorCode::kIo);
  EXPECT_EQ(tries, 3);
}

TEST(Pipeline, DoesNotTryALoadAgainThatNeverWorks) {
  for (const auto code : {ErrorCode::kCorrupt, ErrorCode::kUnsupported, ErrorCode::kDoesNotFit}) {
    std::atomic<int> tries = 0;
    FakeOptions options;
    options.load = [&](const StageSpec&, auto&, auto) -> Status {
      ++tries;
      return fail(code, "never");
    };
    FakeStageFactory factory(options);
    Results results;
    EXPECT_EQ(build(1, factory, results).error().code, code);
    EXPECT_EQ(tries, 1);
  }
}

TEST(Pipeline, ReportsProgressOfTheLoadUpwards) {
  FakeOptions options;
  options.load = [](const StageSpec&, auto& progress, auto) -> Status {
    for (const double share : {0.25, 0.5, 0.75}) {
      progress(share);
      std::this_thread::sleep_for(milliseconds(5));
    }
    return {};
  };
  FakeStageFactory factory(options);
  Results results;
  std::vector<double> seen;
  const auto pipeline = Pipeline::build(fake_specs(2), factory, {}, kClock, results.done(),
                                        [&](double share) { seen.push_back(share); }, {});
  ASSERT_TRUE(pipeline);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  ASSERT_FALSE(seen.empty());
  EXPECT_DOUBLE_EQ(seen.back(), 1.0);
}

TEST(Pipeline, EndsALoadThatStalls) {
  const auto latch = std::make_shared<Latch>();
  FakeOptions options;
  options.load = [=](const StageSpec& spec, auto& progress, auto) -> Status {
    progress(0.3);
    if (spec.layers.first == 1) latch->wait();
    return {};
  };
  FakeStageFactory factory(options);
  Results results;
  ManualClock clock;
  PipelineOptions stalling;
  stalling.hang_grace = seconds(1);
  std::jthread later([&] {
    for (int i = 0; i < 1000 && !latch->is_open(); ++i) {
      std::this_thread::sleep_for(milliseconds(10));
      clock.advance(seconds(20));
    }
  });
  const auto pipeline = build(2, factory, results, stalling, clock);
  ASSERT_FALSE(pipeline);
  EXPECT_EQ(pipeline.error().code, ErrorCode::kDeadline);
  EXPECT_THAT(pipeline.error().message, AllOf(HasSubstr("stage 1"), HasSubstr("30 %")));
  latch->open();  // the thread that was left behind comes back, and must do no harm
  while (factory.counters().alive > 0) std::this_thread::yield();
}

TEST(Pipeline, EndsALoadWhenTold) {
  std::stop_source stop;
  FakeOptions options;
  options.load = [&](const StageSpec&, auto&, std::stop_token token) -> Status {
    stop.request_stop();
    while (!token.stop_requested()) std::this_thread::yield();
    return fail(ErrorCode::kCancelled, "stopped");
  };
  FakeStageFactory factory(options);
  Results results;
  const auto pipeline =
      Pipeline::build(fake_specs(2), factory, {}, kClock, results.done(), {}, stop.get_token());
  ASSERT_FALSE(pipeline);
  EXPECT_EQ(pipeline.error().code, ErrorCode::kCancelled);
}

TEST(Pipeline, TakesNoMoreStepsThanMayBeInFlight) {
  const auto latch = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) { call.hang = latch; };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(2, factory, results, {.steps_in_flight = 2});
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  ASSERT_TRUE((*pipeline)->submit(rows_of(1, {1})));
  EXPECT_EQ((*pipeline)->submit(rows_of(2, {1})).error().code, ErrorCode::kExhausted);
  latch->open();
  ASSERT_TRUE(results.next());
  EXPECT_TRUE((*pipeline)->submit(rows_of(2, {1})));
}

TEST(Pipeline, RunsTwoStepsInTwoStagesAtOnce) {
  // Stage 0 only goes on with step 2 once stage 1 is in step 1, and the other way round.
  const auto second_step = std::make_shared<Latch>();
  const auto second_stage = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    if (call.stage == 0 && call.call == 2) {
      second_step->open();
      call.hang = second_stage;
    }
    if (call.stage == 1 && call.call == 1) {
      second_stage->open();
      call.hang = second_step;
    }
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(2, factory, results, {.steps_in_flight = 2});
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  ASSERT_TRUE((*pipeline)->submit(rows_of(1, {1})));
  EXPECT_TRUE(results.next()->output);
  EXPECT_TRUE(results.next()->output);
}

TEST(Pipeline, RefusesAStepThatIsNotWellFormed) {
  FakeStageFactory factory;
  Results results;
  auto pipeline = build(1, factory, results);
  EXPECT_EQ((*pipeline)->submit(rows_of(0, std::vector<Token>(65, 1))).error().code,
            ErrorCode::kInvalidArgument);
  auto input = rows_of(0, {1});
  input.outputs.clear();
  EXPECT_EQ((*pipeline)->submit(std::move(input)).error().code, ErrorCode::kInvalidArgument);
}

TEST(Pipeline, TakesAStepOfUpkeepOnly) {
  FakeStageFactory factory;
  Results results;
  auto pipeline = build(3, factory, results);
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1, 2, 3})));
  ASSERT_TRUE(results.next());
  StageInput input;
  input.kv_ops.push_back({KvOp::Kind::kTruncate, 0, 0, 1});
  ASSERT_TRUE((*pipeline)->submit(std::move(input)));
  EXPECT_TRUE(results.next()->output);
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {9}, 1)));
  EXPECT_EQ(results.next()->output->sampled[0].event.chosen.token,
            fake_next_token(std::vector<Token>{1, 9}, 3, kVocabulary));
}

// Which errors end the step only, and which the pipeline.
class PipelineError : public ::testing::TestWithParam<std::tuple<ErrorCode, bool>> {};

TEST_P(PipelineError, IsAnsweredAndLeavesThePipelineInTheRightState) {
  const auto [code, survives] = GetParam();
  FakeOptions options;
  options.script = [code](FakeCall& call) {
    if (call.stage == 1 && call.call == 1) call.error = Error{code, "broken"};
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(3, factory, results);
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  const auto result = results.next();
  ASSERT_TRUE(result);
  ASSERT_FALSE(result->output);
  EXPECT_EQ(result->output.error().code, code);
  EXPECT_EQ(result->failed_stage, "stage 1 (layers 1-2 on fake1)");
  EXPECT_EQ((*pipeline)->failure().has_value(), !survives);
  const auto next = (*pipeline)->submit(rows_of(1, {1}));
  EXPECT_EQ(next.has_value(), survives);
  if (!survives) {
    EXPECT_EQ(next.error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(next.error().message, AllOf(HasSubstr("stage 1"), HasSubstr("broken")));
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, PipelineError,
                         ::testing::Values(std::tuple(ErrorCode::kExhausted, true),
                                           std::tuple(ErrorCode::kCorrupt, true),
                                           std::tuple(ErrorCode::kCancelled, true),
                                           std::tuple(ErrorCode::kUnavailable, false),
                                           std::tuple(ErrorCode::kDeadline, false),
                                           std::tuple(ErrorCode::kIo, false),
                                           std::tuple(ErrorCode::kInternal, false)),
                         [](const auto& param) {
                           return std::string(traits(std::get<0>(param.param)).name);
                         });

TEST(Pipeline, EndsTheLaterStepsOfASlotWithTheOneThatFailed) {
  const auto both_sent = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    if (call.stage == 1 && call.call == 1) {
      call.hang = both_sent;
      call.error = Error{ErrorCode::kExhausted, "full"};
    }
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(3, factory, results, {.steps_in_flight = 3});
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1, 2})));
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {3}, 2)));  // would append to what is missing
  ASSERT_TRUE((*pipeline)->submit(rows_of(1, {9})));     // another sequence
  both_sent->open();
  for (const std::uint64_t step : {1U, 2U}) {
    const auto result = results.next();
    EXPECT_EQ(result->step, step);
    EXPECT_EQ(result->output.error().code, ErrorCode::kExhausted);
  }
  const auto other = results.next();
  ASSERT_TRUE(other->output);
  EXPECT_EQ(other->output->sampled[0].event.chosen.token,
            fake_next_token(std::vector<Token>{9}, 3, kVocabulary));
  // Begun again from nothing, the slot works.
  auto again = rows_of(0, {1, 2, 3});
  again.kv_ops.push_back({KvOp::Kind::kTruncate, 0, 0, 0});
  ASSERT_TRUE((*pipeline)->submit(std::move(again)));
  EXPECT_EQ(results.next()->output->sampled[0].event.chosen.token,
            fake_next_token(std::vector<Token>{1, 2, 3}, 3, kVocabulary));
}

TEST(Pipeline, RunsSeveralStepsOfASlotInOrder) {
  FakeStageFactory factory;
  Results results;
  auto pipeline = build(3, factory, results, {.steps_in_flight = 3});
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1, 2})));
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {3}, 2)));
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {4, 5}, 3)));
  results.next();
  results.next();
  EXPECT_EQ(results.next()->output->sampled[0].event.chosen.token,
            fake_next_token(std::vector<Token>{1, 2, 3, 4, 5}, 3, kVocabulary));
}

TEST(Pipeline, AnswersEveryStepInFlightWhenOneFails) {
  const auto latch = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    if (call.stage == 1) call.hang = latch;
    if (call.stage == 1) call.error = Error{ErrorCode::kUnavailable, "gone"};
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(2, factory, results, {.steps_in_flight = 3});
  for (SlotId slot = 0; slot < 3; ++slot) ASSERT_TRUE((*pipeline)->submit(rows_of(slot, {1})));
  latch->open();
  std::vector<std::uint64_t> answered;
  for (int i = 0; i < 3; ++i) {
    const auto result = results.next();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output.error().code, ErrorCode::kUnavailable);
    answered.push_back(result->step);
  }
  EXPECT_THAT(answered, ElementsAre(1, 2, 3));
  pipeline->reset();
  EXPECT_EQ(results.size(), 0U);
}

TEST(Pipeline, TurnsAnExceptionIntoAFailure) {
  FakeOptions options;
  options.script = [](FakeCall& call) { call.throws = true; };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(1, factory, results);
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  const auto result = results.next();
  EXPECT_EQ(result->output.error().code, ErrorCode::kInternal);
  EXPECT_THAT(result->output.error().message, HasSubstr("the backend threw"));
  EXPECT_TRUE((*pipeline)->failure());
}

TEST(Pipeline, RefusesAnOutputOfTheWrongSize) {
  for (const std::size_t stage : {0U, 1U}) {
    FakeOptions options;
    options.script = [=](FakeCall& call) { call.short_output = call.stage == stage; };
    FakeStageFactory factory(options);
    Results results;
    auto pipeline = build(2, factory, results);
    ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1, 2})));
    EXPECT_EQ(results.next()->output.error().code, ErrorCode::kInternal);
  }
}

TEST(Pipeline, NamesTheRowsAndTheStageOfNanAtACut) {
  FakeOptions options;
  options.script = [](FakeCall& call) {
    if (call.stage == 1) call.nan_rows = {2};
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(3, factory, results);
  auto input = rows_of(0, {1, 2});
  const auto other = rows_of(2, {3, 4});
  input.rows.insert(input.rows.end(), other.rows.begin(), other.rows.end());
  input.outputs.emplace_back();
  ASSERT_TRUE((*pipeline)->submit(std::move(input)));
  const auto result = results.next();
  ASSERT_TRUE(result->output);
  ASSERT_EQ(result->output->faults.size(), 1U);
  EXPECT_EQ(result->output->faults[0].row, 2U);
  EXPECT_THAT(result->output->faults[0].message, HasSubstr("stage 1 (layers 1-2 on fake1)"));
  // The other sequence is untouched.
  EXPECT_EQ(result->output->sampled[0].event.chosen.token,
            fake_next_token(std::vector<Token>{1, 2}, 3, kVocabulary));
  EXPECT_FALSE((*pipeline)->failure());
}

TEST(Pipeline, AnswersAStepWhoseStageHangsAndLeavesItsThreadBehind) {
  const auto latch = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    if (call.stage == 1) call.hang = latch;
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(
      2, factory, results,
      {.steps_in_flight = 2, .step_deadline = milliseconds(40), .hang_grace = milliseconds(40)});
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  ASSERT_TRUE((*pipeline)->submit(rows_of(1, {1})));
  const auto first = results.next();
  EXPECT_EQ(first->output.error().code, ErrorCode::kDeadline);
  EXPECT_EQ(first->failed_stage, "stage 1 (layers 1-2 on fake1)");
  EXPECT_EQ(results.next()->output.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ((*pipeline)->submit(rows_of(2, {1})).error().code, ErrorCode::kUnavailable);
  pipeline->reset();  // does not hang
  EXPECT_EQ(factory.counters().alive, 1);
  latch->open();
  while (factory.counters().alive > 0) std::this_thread::yield();
  EXPECT_EQ(factory.counters().wrong_thread, 0);
  EXPECT_EQ(results.size(), 0U);
}

// The stage sleeps as a thread without a core does; what it waited for one is told beside.
TEST(Pipeline, WhatOthersStarveTheProcessOfCountsForNoDeadline) {
  for (const bool starves : {true, false}) {
    FakeStageFactory factory(
        FakeOptions{.script = [](FakeCall&) { std::this_thread::sleep_for(milliseconds(200)); }});
    Results results;
    PipelineOptions options{.step_deadline = milliseconds(50), .hang_grace = seconds(5)};
    options.run_delay = [&]() -> Reading<Duration> {
      return starves ? kClock.now().time_since_epoch() * 3 / 4 : seconds(7);
    };
    auto pipeline = build(1, factory, results, options);
    ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
    const auto result = results.next();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output.has_value(), starves);
  }
}

TEST(Pipeline, KeepsTheStepDeadlineByTheClockItIsGiven) {
  const auto latch = std::make_shared<Latch>();
  const auto begun = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    begun->open();
    call.hang = latch;
  };
  FakeStageFactory factory(options);
  Results results;
  ManualClock clock;
  auto pipeline = build(1, factory, results, {}, clock);
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  begun->wait();
  clock.advance(seconds(31));
  EXPECT_EQ(results.next()->output.error().code, ErrorCode::kDeadline);
  latch->open();
}

TEST(Pipeline, EndsAStepThatNoStageTakesOver) {
  const auto latch = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    if (call.stage == 1) call.hang = latch;
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline =
      build(2, factory, results, {.steps_in_flight = 2, .transfer_deadline = milliseconds(40)});
  ASSERT_TRUE((*pipeline)->submit(rows_of(0, {1})));
  ASSERT_TRUE((*pipeline)->submit(rows_of(1, {1})));
  EXPECT_EQ(results.next()->output.error().code, ErrorCode::kUnavailable);
  const auto waiting = results.next();
  EXPECT_EQ(waiting->output.error().code, ErrorCode::kDeadline);
  EXPECT_THAT(waiting->output.error().message, HasSubstr("taken over"));
  latch->open();
}

TEST(Pipeline, FinishesRunningStepsAndCancelsTheOthersWhenDestroyed) {
  const auto begun = std::make_shared<Latch>();
  const auto go_on = std::make_shared<Latch>();
  FakeOptions options;
  options.script = [=](FakeCall& call) {
    begun->open();
    if (call.stage == 0) call.hang = go_on;
  };
  FakeStageFactory factory(options);
  Results results;
  auto pipeline = build(2, factory, results, {.steps_in_flight = 3});
  for (SlotId slot = 0; slot < 3; ++slot) ASSERT_TRUE((*pipeline)->submit(rows_of(slot, {1})));
  begun->wait();
  std::jthread destroyer([&] { pipeline->reset(); });
  EXPECT_EQ(results.next()->output.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(results.next()->output.error().code, ErrorCode::kCancelled);
  go_on->open();
  const auto finished = results.next();
  EXPECT_EQ(finished->step, 1U);
  EXPECT_TRUE(finished->output);
  destroyer.join();
  EXPECT_EQ(factory.counters().alive, 0);
}

TEST(Pipeline, LeavesNothingBehindWhenDestroyedUnderLoad) {
  for (int round = 0; round < 50; ++round) {
    FakeStageFactory factory;
    std::atomic<int> accepted = 0;
    std::atomic<int> answered = 0;
    auto built = Pipeline::build(fake_specs(3, 8), factory, {.steps_in_flight = 4}, kClock,
                                 [&](StepResult) { ++answered; }, {}, {});
    auto pipeline = *std::move(built);
    for (int i = 0; i < 40; ++i) {
      StageInput input;
      input.kv_ops.push_back({KvOp::Kind::kTruncate, i % 8, 0, 0});
      input.rows.push_back({i % 8, 0, 1, false});
      if (pipeline->submit(std::move(input))) ++accepted;
    }
    pipeline.reset();
    EXPECT_EQ(accepted, answered);
    EXPECT_EQ(factory.counters().alive, 0);
  }
}

TEST(Pipeline, TellsWhatItsStagesTookAndDid) {
  FakeStageFactory factory;
  Results results;
  auto pipeline = build(2, factory, results);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE((*pipeline)->submit(rows_of(i, {1})));
    ASSERT_TRUE(results.next());
  }
  const auto stages = (*pipeline)->stages();
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(stages[1].layers, (LayerRange{1, 2}));
  EXPECT_EQ(stages[1].device, "fake1");
  EXPECT_EQ(stages[1].memory.total(), 1110U);
  EXPECT_EQ(stages[1].steps, 3U);
  EXPECT_GT(stages[1].busy, Duration{});
  EXPECT_EQ(stages[1].queued, 0U);
}

TEST(Pipeline, NeedsAStageAndAStep) {
  FakeStageFactory factory;
  Results results;
  EXPECT_EQ(build(0, factory, results).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(build(1, factory, results, {.steps_in_flight = 0}).error().code,
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace gogrid

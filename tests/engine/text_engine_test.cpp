#include "engine/text_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <limits>
#include <mutex>
#include <thread>

#include "model/gguf_file.h"
#include "support/recording_sink.h"
#include "support/tiny_engine.h"

namespace gogrid {
namespace {

using testing::FakeOptions;
using testing::FakeStageFactory;
using ::testing::HasSubstr;
using testing::RecordingSink;
using testing::TinyEngine;

const SteadyClock kClock;

std::shared_ptr<RecordingSink> send(TextEngine& engine, std::vector<Token> prompt,
                                    std::uint32_t max_tokens = 20) {
  auto sink = std::make_shared<RecordingSink>();
  Submission submission{.request = {}, .sink = sink};
  submission.request.id = "r";
  submission.request.prompt = std::move(prompt);
  submission.request.max_tokens = max_tokens;
  const auto accepted = engine.generate(std::move(submission));
  EXPECT_TRUE(accepted) << accepted.error().error.message;
  return sink;
}

TEST(TextEngine, GeneratesWhatItsStagesMakeWhereverItIsCut) {
  const TinyEngine tiny;
  for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {2}, {1, 3}}) {
    FakeStageFactory factory;
    auto engine = TinyEngine::load(tiny.options(cuts), factory, kClock);
    ASSERT_TRUE(engine) << engine.error().message;
    EXPECT_EQ((*engine)->stages().size(), cuts.size() + 1);
    const std::vector<Token> prompt{5, 6, 7, 8};
    const auto sink = send(**engine, prompt);
    ASSERT_TRUE(sink->wait_for_end());
    const auto expected = TinyEngine::fake_answer(**engine, prompt, 20);
    EXPECT_EQ(sink->tokens(), expected);
    std::string text;
    for (const Token token : expected) text += (*engine)->tokenizer().piece(token);
    EXPECT_EQ(sink->text(), text);
  }
}

TEST(TextEngine, OneStageNeedsNoSliceAndSeveralHaveOneEach) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  {
    ASSERT_TRUE(TinyEngine::load(tiny.options(), factory, kClock));
  }
  EXPECT_FALSE(std::filesystem::exists(tiny.slices()));
  {
    ASSERT_TRUE(TinyEngine::load(tiny.options({1, 3}), factory, kClock));
  }
  std::size_t slices = 0;
  for (const auto& file : std::filesystem::directory_iterator(tiny.slices())) {
    if (file.path().extension() == ".gguf") ++slices;
  }
  EXPECT_EQ(slices, 3U);
}

// The file that a stage is loaded from says what its layers are in.
TEST(TextEngine, LoadsSmallerSlicesWhereThePlanHasThemAlsoOfAWholeModel) {
  const TinyEngine tiny;
  for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {2}}) {
    std::mutex mutex;
    std::vector<std::string> types;
    FakeStageFactory factory({.load = [&](const StageSpec& spec, const auto&, std::stop_token) {
      const GgufFile file = *GgufFile::open(spec.path);
      const std::lock_guard lock(mutex);
      types.push_back(to_string(spec.layers) + " " +
                      std::string(file.tensor("blk.1.ffn_up.weight")->type_name));
      return Status{};
    }});
    TextEngineOptions options = tiny.options(cuts);
    options.plan.stages.back().type = *find_weight_type("q8_0");
    const auto engine = TinyEngine::load(options, factory, kClock);
    ASSERT_TRUE(engine) << engine.error().message;
    std::ranges::sort(types);
    if (cuts.empty())
      EXPECT_THAT(types, ::testing::ElementsAre("0-4 q8_0"));
    else
      EXPECT_THAT(types, ::testing::ElementsAre("0-2 f32", "2-4 q8_0"));
    EXPECT_EQ((*engine)->plan().stages.back().type->name, "q8_0");
  }
}

TEST(TextEngine, ThatIsPausedInTheMidstOfSlicingWaitsAndGoesOnWhereItWas) {
  const TinyEngine tiny;
  std::atomic<int> loads = 0;
  FakeStageFactory factory({.load = [&](const StageSpec&, const auto&, std::stop_token) {
    ++loads;
    return Status{};
  }});
  Governor governor(kClock);
  TextEngineOptions options = tiny.options({2});
  options.governor = &governor;
  std::atomic<int> reports = 0;
  std::jthread person;
  const auto progress = [&](double) {
    if (++reports != 1) return;
    governor.pause(PauseReason::kOperator, "a film", {});
    person = std::jthread([&] {
      std::this_thread::sleep_for(5 * Governor::kWaitPoll);
      EXPECT_EQ(reports, 1);
      EXPECT_EQ(loads, 0);
      governor.resume(PauseReason::kOperator);
    });
  };
  ASSERT_TRUE(TinyEngine::load(options, factory, kClock, progress));
  EXPECT_EQ(loads, 2);
}

TEST(TextEngine, ThatIsPausedLoadsNothingAndCanBeToldToStop) {
  const TinyEngine tiny;
  std::atomic<int> loads = 0;
  FakeStageFactory factory({.load = [&](const StageSpec&, const auto&, std::stop_token) {
    ++loads;
    return Status{};
  }});
  Governor governor(kClock);
  governor.pause(PauseReason::kOperator, "a film", {});
  for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {2}}) {
    TextEngineOptions options = tiny.options(cuts);
    options.governor = &governor;
    std::stop_source stop;
    const std::jthread person([&] {
      std::this_thread::sleep_for(5 * Governor::kWaitPoll);
      stop.request_stop();
    });
    const auto engine = TinyEngine::load(options, factory, kClock, [](double) {}, stop.get_token());
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().code, ErrorCode::kCancelled) << engine.error().message;
  }
  EXPECT_EQ(loads, 0);
}

TEST(TextEngine, GivesEachStageItsSliceAndTheFirstTheWholeModelForItsEmbeddings) {
  const TinyEngine tiny;
  Mutex mu;
  std::vector<StageSpec> specs;
  FakeStageFactory factory({.load = [&](const StageSpec& spec, const auto&, std::stop_token) {
    MutexLock lock(mu);
    specs.push_back(spec);
    return Status{};
  }});
  TextEngineOptions options = tiny.options({2});
  options.deterministic = true;
  ASSERT_TRUE(TinyEngine::load(options, factory, kClock));
  std::ranges::sort(specs, {}, [](const StageSpec& spec) { return spec.layers.first; });
  ASSERT_EQ(specs.size(), 2U);
  EXPECT_EQ(specs[0].layers, (LayerRange{0, 2}));
  EXPECT_EQ(specs[1].layers, (LayerRange{2, 4}));
  EXPECT_EQ(specs[0].embedding_source, tiny.path());
  EXPECT_TRUE(specs[1].embedding_source.empty());
  for (const StageSpec& spec : specs) {
    EXPECT_NE(spec.path, tiny.path());
    ASSERT_NE(spec.slice, nullptr);
    EXPECT_EQ(spec.slice->path(), spec.path);
    EXPECT_EQ(spec.n_layers, 4U);
    EXPECT_EQ(spec.context, 256U);
    EXPECT_EQ(spec.parallel, 4U);
    EXPECT_TRUE(spec.deterministic);
    EXPECT_FALSE(spec.end_tokens.empty());
  }
}

TEST(TextEngine, ATokenIsMadeBeforeItIsReady) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_TRUE(engine);
  EXPECT_GE(factory.counters().calls.load(), 1U);
}

TEST(TextEngine, AStageThatCannotMakeATokenFailsTheLoadWithItsReason) {
  const TinyEngine tiny;
  FakeStageFactory factory({.script = [](testing::FakeCall& call) {
    call.error = Error{ErrorCode::kUnavailable, "the device is gone"};
  }});
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(engine.error().message, HasSubstr("the device is gone"));
  EXPECT_EQ(factory.counters().alive.load(), 0);
}

TEST(TextEngine, ALogitThatIsNoNumberFailsTheLoad) {
  const TinyEngine tiny;
  FakeStageFactory factory({.script = [](testing::FakeCall& call) { call.nan_rows = {0}; }});
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_FALSE(engine);
  EXPECT_THAT(engine.error().message, HasSubstr("NaN"));
}

TEST(TextEngine, ProgressGoesFromSlicingThroughLoadingToOne) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  std::vector<double> seen;
  ASSERT_TRUE(TinyEngine::load(tiny.options({2}), factory, kClock,
                               [&](double share) { seen.push_back(share); }));
  ASSERT_GE(seen.size(), 3U);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_LT(seen.front(), 0.5);
  EXPECT_DOUBLE_EQ(seen.back(), 1.0);
}

TEST(TextEngine, AStoppedLoadIsCancelled) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  std::stop_source stop;
  stop.request_stop();
  for (const auto& options : {tiny.options(), tiny.options({2})}) {
    const auto engine = TinyEngine::load(options, factory, kClock, [](double) {}, stop.get_token());
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().code, ErrorCode::kCancelled) << engine.error().message;
  }
  EXPECT_EQ(factory.counters().alive.load(), 0);
}

TEST(TextEngine, APlanThatDoesNotCoverTheModelIsRefused) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  std::vector<TextEngineOptions> broken(5, tiny.options({2}));
  broken[0].plan.stages.clear();
  broken[1].plan.stages.pop_back();
  broken[2].plan.stages.erase(broken[2].plan.stages.begin());
  broken[3].plan.stages[1].layers = {3, 4};
  broken[4].plan.stages[1].layers = {2, 5};
  for (const TextEngineOptions& options : broken) {
    const auto engine = TinyEngine::load(options, factory, kClock);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument) << engine.error().message;
  }
  EXPECT_EQ(factory.counters().made.load(), 0);
}

TEST(TextEngine, ADeviceThatIsNotHereIsNamed) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  TextEngineOptions options = tiny.options();
  options.plan.stages[0].device = "cuda7";
  const auto engine = TinyEngine::load(options, factory, kClock);
  ASSERT_FALSE(engine);
  EXPECT_THAT(engine.error().message, HasSubstr("cuda7"));
}

TEST(TextEngine, AFileThatIsNoModelIsRefusedBeforeAnythingIsLoaded) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  std::ofstream(tiny.path(), std::ios::trunc) << "not a model";
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(factory.counters().made.load(), 0);
}

TEST(TextEngine, APromptThatLeavesNoRoomIsRefusedWithBothCounts) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_TRUE(engine);
  const auto text = (*engine)->prepare_text(std::string(300, '#'));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(text.error().param, "prompt");
  EXPECT_THAT(text.error().message, HasSubstr("256"));
  EXPECT_THAT(text.error().message, HasSubstr("300"));
  const auto chat = (*engine)->prepare_chat({{"user", std::string(300, '#')}});
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().param, "messages");
}

TEST(TextEngine, AnEmptyPromptIsRefused) {
  const TinyEngine tiny;
  FakeStageFactory factory;
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_TRUE(engine);
  const auto text = (*engine)->prepare_text("");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().param, "prompt");
}

TEST(TextEngine, AModelWithoutATemplateTakesTextButNoMessages) {
  const TinyEngine tiny({.chat_template = false});
  FakeStageFactory factory;
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_TRUE(engine);
  EXPECT_TRUE((*engine)->prepare_text("hello"));
  const auto chat = (*engine)->prepare_chat({{"user", "hello"}});
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(chat.error().param, "messages");
}

TEST(TextEngine, AFailedStageIsItsFailureAndEveryLaterRequestIsRefused) {
  const TinyEngine tiny;
  std::atomic<bool> broken = false;
  FakeStageFactory factory({.script = [&](testing::FakeCall& call) {
    if (broken) call.error = Error{ErrorCode::kUnavailable, "the device is gone"};
  }});
  const auto engine = TinyEngine::load(tiny.options(), factory, kClock);
  ASSERT_TRUE(engine);
  EXPECT_FALSE((*engine)->failure());
  broken = true;
  const auto sink = send(**engine, {1, 2, 3});
  ASSERT_TRUE(sink->wait_for_end());
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(sink->error()->code, ErrorCode::kUnavailable);
  ASSERT_TRUE((*engine)->failure());
  EXPECT_THAT((*engine)->failure()->message, HasSubstr("the device is gone"));
  Submission late{.request = {}, .sink = std::make_shared<RecordingSink>()};
  late.request.prompt = {1};
  late.request.max_tokens = 1;
  const auto refused = (*engine)->generate(std::move(late));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error.code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace gogrid

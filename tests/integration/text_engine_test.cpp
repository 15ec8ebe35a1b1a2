// Text engines over real stages: what is asked of the whole thread below HTTP.
#include "engine/text_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/device_registry.h"
#include "stage/llama_stage.h"
#include "support/recording_sink.h"
#include "support/tiny_adapter.h"
#include "support/tiny_engine.h"

namespace gogrid {
namespace {

using testing::RecordingSink;
using testing::TinyEngine;
using testing::TinyModel;

const SteadyClock kClock;

StageFactory& factory() {
  initialize_backends();
  static StageFactory* const made = make_llama_stage_factory().release();
  return *made;
}

std::unique_ptr<TextEngine> load(const TextEngineOptions& options) {
  auto engine = TinyEngine::load(options, factory(), kClock);
  EXPECT_TRUE(engine) << engine.error().message;
  return engine ? *std::move(engine) : nullptr;
}

GenerationRequest request(std::vector<Token> prompt, std::uint32_t max_tokens = 24) {
  GenerationRequest request;
  request.id = "r";
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0.0F;
  request.sampling.ban_end_of_text = true;
  return request;
}

std::shared_ptr<RecordingSink> send(TextEngine& engine, GenerationRequest request) {
  auto sink = std::make_shared<RecordingSink>();
  const auto accepted = engine.generate({std::move(request), sink});
  EXPECT_TRUE(accepted) << accepted.error().error.message;
  return sink;
}

std::vector<Token> answer(TextEngine& engine, GenerationRequest asked) {
  const auto sink = send(engine, std::move(asked));
  EXPECT_TRUE(sink->wait_for_end());
  EXPECT_FALSE(sink->error()) << sink->error()->message;
  return sink->tokens();
}

TextEngineOptions deterministic(TextEngineOptions options) {
  options.deterministic = true;
  options.prefix_reuse = false;
  return options;
}

TEST(TextEngineThread, TheSameTextComesOutWhereverTheModelIsCut) {
  const TinyEngine tiny;
  std::vector<std::vector<Token>> answers;
  for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {2}, {1, 3}}) {
    const auto engine = load(tiny.options(cuts));
    ASSERT_NE(engine, nullptr);
    const auto prompt = engine->prepare_chat({{"user", "Say something long."}});
    ASSERT_TRUE(prompt);
    answers.push_back(answer(*engine, request(*prompt, 40)));
    EXPECT_EQ(answers.back().size(), 40U);
  }
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
}

// Of the tokens of a prompt, greedily; the adapter of these options over the tiny model.
std::vector<Token> answer_with(const TextEngineOptions& options) {
  const auto engine = load(options);
  if (engine == nullptr) return {};
  return answer(*engine, request({5, 6, 7, 8}, 40));
}

TEST(TextEngineThread, AnAdapterChangesTheTextAndTheSameWayWhereverTheModelIsCut) {
  const TinyEngine tiny;
  const testing::TemporaryFolder folder;
  const auto path = testing::TinyAdapter().change_all().write(folder / "adapter.gguf");
  const auto with = [&](const std::vector<std::uint32_t>& cuts, float scale) {
    TextEngineOptions options = tiny.options(cuts);
    options.adapter = {path, scale};
    return options;
  };
  const auto plain = answer_with(tiny.options());
  const auto whole = answer_with(with({}, 1.0F));
  EXPECT_EQ(whole.size(), 40U);
  EXPECT_NE(whole, plain);
  EXPECT_EQ(answer_with(with({2}, 1.0F)), whole);
  EXPECT_EQ(answer_with(with({1, 3}, 1.0F)), whole);
  EXPECT_EQ(answer_with(with({}, 1e-6F)), plain);
  EXPECT_NE(answer_with(with({}, 0.3F)), whole);
  // Parts of the adapter are gone with the stages.
  for (const auto& entry : std::filesystem::directory_iterator(tiny.slices()))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
}

// How likely the most likely tokens behind a prompt are: finer than which they are.
std::vector<float> likelihoods_with(const TextEngineOptions& options) {
  const auto engine = load(options);
  if (engine == nullptr) return {};
  GenerationRequest asked = request({5, 6, 7, 8}, 4);
  asked.sampling.top_logprobs = 0;
  const auto sink = send(*engine, std::move(asked));
  EXPECT_TRUE(sink->wait_for_end());
  std::vector<float> likelihoods;
  for (const TokenEvent& event : sink->events()) likelihoods.push_back(event.chosen.logprob);
  EXPECT_EQ(likelihoods.size(), 4U);
  return likelihoods;
}

// What read_adapter() takes, libllama's graph acts on: each matrix by itself, in each architecture.
TEST(TextEngineThread, EveryMatrixThatAnAdapterMayChangeActs) {
  const testing::TemporaryFolder folder;
  int changed = 0;
  for (const std::string& architecture : testing::tiny_architectures()) {
    const TinyEngine tiny({.architecture = architecture, .n_kv_heads = 4});
    const GgufFile base = *GgufFile::open(tiny.path());
    const ModelProfile profile = *read_profile(base);
    const auto plain = likelihoods_with(tiny.options());
    ASSERT_EQ(likelihoods_with(tiny.options()), plain);
    for (const GgufTensor& weight : base.tensors()) {
      if (weight.n_dims < 2) continue;
      if (weight.name.starts_with("blk.") && !weight.name.starts_with("blk.0.")) continue;
      const auto path =
          testing::TinyAdapter(architecture, 40.0F).change(weight).write(folder / "a");
      if (!read_adapter(*GgufFile::open(path), base, profile)) continue;
      TextEngineOptions options = tiny.options();
      options.adapter = {path, 1.0F};
      EXPECT_NE(likelihoods_with(options), plain) << architecture << ' ' << weight.name;
      ++changed;
    }
  }
  EXPECT_GT(changed, 50);
}

TEST(TextEngineThread, AnAdapterOfSomeLayersChangesTheStageThatHasThem) {
  const TinyEngine tiny;
  const testing::TemporaryFolder folder;
  testing::TinyAdapter adapter;
  adapter.change("blk.3.ffn_up.weight", 128, 256);
  TextEngineOptions options = tiny.options();
  options.adapter = {adapter.write(folder / "adapter.gguf"), 1.0F};
  const auto whole = answer_with(options);
  EXPECT_NE(whole, answer_with(tiny.options()));
  TextEngineOptions cut = tiny.options({2});
  cut.adapter = options.adapter;
  EXPECT_EQ(answer_with(cut), whole);
}

TEST(TextEngineThread, AnAdapterThatIsNotForTheModelIsRefusedBeforeAnythingIsLoaded) {
  const TinyEngine tiny;
  const testing::TemporaryFolder folder;
  TextEngineOptions options = tiny.options();
  options.adapter = {testing::TinyAdapter("qwen2").change_all().write(folder / "a.gguf"), 1.0F};
  const auto engine = TinyEngine::load(options, factory(), kClock);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument);
}

TEST(TextEngineThread, SixteenStreamsGetEachTheTextItGetsAlone) {
  const TinyEngine tiny;
  for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {2}}) {
    TextEngineOptions options = deterministic(tiny.options(cuts));
    options.plan.parallel = 16;
    options.prefill_chunk = 16;
    const auto engine = load(options);
    ASSERT_NE(engine, nullptr);
    const auto asked = [](Token i) {
      auto prompt = testing::some_tokens(static_cast<std::size_t>(5 + i * 7), 90,
                                         static_cast<std::uint32_t>(i));
      GenerationRequest one = request(std::move(prompt), 30);
      if (i % 2 == 1) {  // half of them by chance, with penalties
        one.sampling.temperature = 1.0F;
        one.sampling.frequency_penalty = 0.5F;
        one.sampling.seed = static_cast<std::uint64_t>(i);
      }
      return one;
    };
    std::vector<std::vector<Token>> alone;
    for (Token i = 0; i < 16; ++i) alone.push_back(answer(*engine, asked(i)));
    std::vector<std::shared_ptr<RecordingSink>> together;
    for (Token i = 0; i < 16; ++i) together.push_back(send(*engine, asked(i)));
    for (std::size_t i = 0; i < 16; ++i) {
      ASSERT_TRUE(together[i]->wait_for_end());
      EXPECT_EQ(together[i]->tokens(), alone[i]) << "stream " << i;
    }
  }
}

TEST(TextEngineThread, ASharedBeginningIsComputedOnceOnEveryStage) {
  const TinyEngine tiny;
  for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {2}}) {
    const auto engine = load(tiny.options(cuts));
    ASSERT_NE(engine, nullptr);
    auto prompt = testing::some_tokens(100, 90);
    const auto first = send(*engine, request(prompt, 4));
    ASSERT_TRUE(first->wait_for_end());
    EXPECT_EQ(first->finish()->usage.cached_prompt_tokens, 0U);
    prompt.push_back(17);
    const auto second = send(*engine, request(prompt, 24));
    ASSERT_TRUE(second->wait_for_end());
    EXPECT_GE(second->finish()->usage.cached_prompt_tokens, 99U);
    EXPECT_EQ(second->finish()->usage.prompt_tokens, 101U);
    const auto fresh = load(deterministic(tiny.options(cuts)));
    ASSERT_NE(fresh, nullptr);
    EXPECT_EQ(second->tokens(), answer(*fresh, request(prompt, 24)));
  }
}

TEST(TextEngineThread, StreamsThatOutgrowTheCacheTakeTurnsAndLoseNothing) {
  const TinyEngine tiny;
  TextEngineOptions options = deterministic(tiny.options({2}));
  options.kv_cells = 256;  // one context for all four
  const auto engine = load(options);
  ASSERT_NE(engine, nullptr);
  const auto asked = [](std::uint32_t i) { return request(testing::some_tokens(30, 90, i), 80); };
  std::vector<std::shared_ptr<RecordingSink>> together;
  for (std::uint32_t i = 0; i < 4; ++i) together.push_back(send(*engine, asked(i)));
  for (const auto& sink : together) ASSERT_TRUE(sink->wait_for_end());
  EXPECT_GT(engine->status().preemptions, 0U);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(together[i]->tokens(), answer(*engine, asked(i))) << "stream " << i;
  }
}

TEST(TextEngineThread, MovingStreamsTogetherChangesNoText) {
  for (const char* architecture : {"llama", "lfm2"}) {
    TinyModel model;
    model.architecture = architecture;
    model.n_layers = 8;
    const TinyEngine tiny(model);
    for (const std::vector<std::uint32_t>& cuts : {std::vector<std::uint32_t>{}, {3}}) {
      TextEngineOptions options = deterministic(tiny.options(cuts));
      options.plan.parallel = 6;
      options.plan.groups = 1;
      const auto engine = load(options);
      ASSERT_NE(engine, nullptr);
      const auto asked = [](std::uint32_t i) {  // every second one ends early, and leaves a gap
        return request(testing::some_tokens(20, 90, i), i % 2 == 0 ? 80 : 10);
      };
      std::vector<std::shared_ptr<RecordingSink>> together;
      for (std::uint32_t i = 0; i < 6; ++i) together.push_back(send(*engine, asked(i)));
      for (const auto& sink : together) ASSERT_TRUE(sink->wait_for_end());
      EXPECT_GT(engine->status().slot_moves, 0U) << architecture;
      for (std::uint32_t i = 0; i < 6; ++i) {
        EXPECT_EQ(together[i]->tokens(), answer(*engine, asked(i))) << architecture << i;
      }
    }
  }
}

TEST(TextEngineThread, EveryArchitectureThatMayBeCutSaysTheSameCutAndWhole) {
  for (const std::string& architecture : testing::tiny_architectures()) {
    TinyModel model;
    model.architecture = architecture;
    model.n_layers = 12;  // two periods of every pattern
    if (architecture == "phi2" || architecture == "gpt2" || architecture == "cogvlm")
      model.n_kv_heads = model.n_heads;
    const TinyEngine tiny(model);
    const auto whole = load(tiny.options());
    ASSERT_NE(whole, nullptr) << architecture;
    const auto cuts = whole->profile().allowed_cuts;
    const auto prompt = testing::some_tokens(40, 90);
    const auto expected = answer(*whole, request(prompt));
    EXPECT_EQ(expected.size(), 24U) << architecture;
    if (cuts.empty()) {
      EXPECT_FALSE(whole->profile().one_stage_why.empty()) << architecture;
      continue;
    }
    const auto cut = load(tiny.options({cuts[cuts.size() / 2]}));
    ASSERT_NE(cut, nullptr) << architecture;
    EXPECT_EQ(answer(*cut, request(prompt)), expected) << architecture;
  }
}

TEST(TextEngineThread, ALongPromptIsReadInChunksAndIsStillTheSamePrompt) {
  const TinyEngine tiny;
  const auto prompt = testing::some_tokens(200, 90);
  std::vector<std::vector<Token>> answers;
  for (const std::uint32_t chunk : {8U, 64U}) {
    TextEngineOptions options = deterministic(tiny.options({2}));
    options.prefill_chunk = chunk;
    options.max_step_rows = chunk;
    const auto engine = load(options);
    ASSERT_NE(engine, nullptr);
    answers.push_back(answer(*engine, request(prompt)));
  }
  EXPECT_EQ(answers[0], answers[1]);
}

}  // namespace
}  // namespace gogrid

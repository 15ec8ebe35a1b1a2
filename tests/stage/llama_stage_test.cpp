#include "stage/llama_stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using testing::Chain;
using ::testing::HasSubstr;
using testing::raw_logits;
using testing::rows_of;
using testing::some_tokens;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::WholeModel;

constexpr std::uint32_t kVocabulary = 288;

TinyModel tiny(std::string architecture = "llama") {
  TinyModel model;
  model.architecture = std::move(architecture);
  return model;
}

// A model file and what is made of it.
class Bench {
 public:
  explicit Bench(const TinyModel& model = tiny()) : path_(folder_ / "tiny.gguf") {
    write_tiny_model(path_, model);
    EXPECT_EQ(testing::tiny_vocabulary_size(model), kVocabulary);
  }
  const std::filesystem::path& path() const { return path_; }
  Result<Chain> chain(const Chain::Options& options) const {
    return Chain::make(path_, folder_, options);
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_;
};

Chain::Options cut_in_two() {
  Chain::Options options;
  options.cuts = {2};
  return options;
}

// As the only sequence of a chain of its own, in one step.
std::vector<float> alone(const Bench& bench, Chain::Options options,
                         const std::vector<Token>& tokens) {
  options.parallel = 1;
  options.kv_cells = 0;
  auto chain = bench.chain(options);
  if (!chain) throw std::runtime_error(chain.error().message);
  auto logits = chain->logits_after(0, 0, tokens);
  if (!logits) throw std::runtime_error(logits.error().message);
  return *std::move(logits);
}

void expect_near(const std::vector<float>& got, const std::vector<float>& expected,
                 float tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], expected[i], tolerance) << "token " << i;
  }
}

void expect_same(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0);
}

// Sequences that grow by some tokens in each step, several in a step.
class Streams {
 public:
  explicit Streams(Chain& chain) : chain_(chain) {}

  // `grow`: slot to number of tokens, in the order of the rows.
  void step(const std::vector<std::pair<SlotId, std::size_t>>& grow) {
    StageInput input;
    for (const auto& [slot, count] : grow) {
      auto& tokens = tokens_[slot];
      const auto more = some_tokens(count, kVocabulary, ++seed_);
      const auto rows = rows_of(slot, static_cast<std::int32_t>(tokens.size()), more);
      input.rows.insert(input.rows.end(), rows.begin(), rows.end());
      input.outputs.push_back(raw_logits());
      tokens.insert(tokens.end(), more.begin(), more.end());
    }
    auto output = chain_.forward(std::move(input));
    ASSERT_TRUE(output) << output.error().message;
    ASSERT_EQ(output->sampled.size(), grow.size());
    for (std::size_t i = 0; i < grow.size(); ++i) {
      logits_[grow[i].first] = std::move(output->sampled[i].logits);
    }
  }
  const std::map<SlotId, std::vector<Token>>& tokens() const { return tokens_; }
  const std::vector<float>& logits(SlotId slot) const { return logits_.at(slot); }

 private:
  Chain& chain_;
  std::map<SlotId, std::vector<Token>> tokens_;
  std::map<SlotId, std::vector<float>> logits_;
  std::uint32_t seed_ = 0;
};

struct Layout {
  std::string name;
  std::vector<std::uint32_t> cuts;
  std::uint32_t kv_cells = 0;
  bool deterministic = false;
  std::string architecture = "llama";
};
void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.name; }

class MixedSteps : public ::testing::TestWithParam<Layout> {};

// Decodes beside prefills, holes between the slots, slots in any order, more rows than one call of
// libllama takes: every sequence gets the logits it gets alone.
TEST_P(MixedSteps, GiveEachSequenceItsOwnRows) {
  const Layout& layout = GetParam();
  TinyModel model = tiny(layout.architecture);
  if (model.architecture == "lfm2") model.n_layers = 8;  // a period of four
  const Bench bench(model);
  Chain::Options options;
  options.cuts = layout.cuts;
  options.parallel = 8;
  options.context = 256;
  options.kv_cells = layout.kv_cells;
  options.deterministic = layout.deterministic;
  options.max_step_rows = 64;
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  Streams streams(*chain);
  streams.step({{5, 9}, {0, 30}, {2, 5}});
  streams.step({{0, 1}, {2, 1}, {3, 20}, {5, 1}});
  streams.step({{7, 40}, {3, 1}, {2, 1}, {1, 13}, {0, 1}});
  streams.step({{0, 1}, {1, 1}, {2, 1}, {3, 1}, {5, 1}, {7, 1}});
  streams.step({{6, 2}, {0, 2}, {3, 2}, {2, 2}});
  for (const auto& [slot, tokens] : streams.tokens()) {
    SCOPED_TRACE("slot " + std::to_string(slot));
    const auto expected = alone(bench, options, tokens);
    if (layout.deterministic) {
      expect_same(streams.logits(slot), expected);
    } else {
      expect_near(streams.logits(slot), expected, 0.05F);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, MixedSteps,
    ::testing::Values(Layout{"Whole", {}}, Layout{"WholePool", {}, 2048},
                      Layout{"WholeDeterministic", {}, 0, true}, Layout{"Two", {2}},
                      Layout{"TwoPool", {2}, 2048}, Layout{"TwoDeterministic", {2}, 0, true},
                      Layout{"ThreeDeterministic", {1, 3}, 0, true},
                      Layout{"MixtureTwoDeterministic", {1}, 0, true, "qwen3moe"},
                      Layout{"ConvolutionTwo", {4}, 0, false, "lfm2"},
                      Layout{"ConvolutionTwoPool", {4}, 2048, false, "lfm2"}),
    [](const auto& instance) { return instance.param.name; });

class KvUpkeep : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  Chain::Options options() const {
    Chain::Options options;
    options.cuts = {2};
    options.parallel = 4;
    options.context = 256;
    options.kv_cells = GetParam();
    options.deterministic = true;
    return options;
  }
  // A pool puts a sequence's cells anywhere, and sums in another order.
  void expect_equal(const std::vector<float>& got, const std::vector<float>& expected) const {
    GetParam() == 0 ? expect_same(got, expected) : expect_near(got, expected, 0.05F);
  }
};

std::vector<Token> joined(std::vector<Token> first, const std::vector<Token>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

TEST_P(KvUpkeep, TruncatedSlotGoesOnFromThere) {
  const Bench bench;
  auto chain = bench.chain(options());
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(30, kVocabulary, 1);
  const auto other = some_tokens(9, kVocabulary, 2);
  ASSERT_TRUE(chain->logits_after(1, 0, prompt));
  StageInput input;
  input.kv_ops = {{.kind = KvOp::Kind::kTruncate, .slot = 1, .from = 0, .length = 12}};
  input.rows = rows_of(1, 12, other);
  input.outputs = {raw_logits()};
  const auto output = chain->forward(input);
  ASSERT_TRUE(output) << output.error().message;
  const std::vector<Token> kept(prompt.begin(), prompt.begin() + 12);
  expect_equal(output->sampled[0].logits, alone(bench, options(), joined(kept, other)));
}

TEST_P(KvUpkeep, CopiedPrefixGoesOnInAnotherSlotAndLeavesTheFirstAlone) {
  const Bench bench;
  auto chain = bench.chain(options());
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(30, kVocabulary, 1);
  const auto other = some_tokens(9, kVocabulary, 2);
  ASSERT_TRUE(chain->logits_after(0, 0, prompt));
  ASSERT_TRUE(chain->logits_after(3, 0, some_tokens(50, kVocabulary, 3)));  // to be overwritten
  StageInput input;
  input.kv_ops = {{.kind = KvOp::Kind::kCopy, .slot = 3, .from = 0, .length = 17}};
  input.rows = rows_of(3, 17, other);
  input.outputs = {raw_logits()};
  const auto output = chain->forward(input);
  ASSERT_TRUE(output) << output.error().message;
  const std::vector<Token> kept(prompt.begin(), prompt.begin() + 17);
  expect_equal(output->sampled[0].logits, alone(bench, options(), joined(kept, other)));
  const auto first = chain->logits_after(0, 30, other);
  ASSERT_TRUE(first) << first.error().message;
  expect_equal(*first, alone(bench, options(), joined(prompt, other)));
}

TEST_P(KvUpkeep, CopyTakesThePrefixBeforeTheSameStepChangesItsSource) {
  const Bench bench;
  auto chain = bench.chain(options());
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(30, kVocabulary, 1);
  const auto other = some_tokens(9, kVocabulary, 2);
  ASSERT_TRUE(chain->logits_after(2, 0, prompt));
  StageInput input;  // copied, the source forgotten, and both written in one step
  input.kv_ops = {{.kind = KvOp::Kind::kCopy, .slot = 1, .from = 2, .length = 20},
                  {.kind = KvOp::Kind::kTruncate, .slot = 2, .from = 0, .length = 0}};
  input.rows = rows_of(1, 20, other);
  for (const StepRow& row : rows_of(2, 0, other)) input.rows.push_back(row);
  input.outputs = {raw_logits(), raw_logits()};
  const auto output = chain->forward(input);
  ASSERT_TRUE(output) << output.error().message;
  const std::vector<Token> kept(prompt.begin(), prompt.begin() + 20);
  expect_equal(output->sampled[0].logits, alone(bench, options(), joined(kept, other)));
  expect_equal(output->sampled[1].logits, alone(bench, options(), other));
}

TEST_P(KvUpkeep, UpkeepWithoutRowsIsAStep) {
  const Bench bench;
  auto chain = bench.chain(options());
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(10, kVocabulary, 1);
  ASSERT_TRUE(chain->logits_after(0, 0, prompt));
  StageInput upkeep;
  upkeep.kv_ops = {{.kind = KvOp::Kind::kTruncate, .slot = 0, .from = 0, .length = 0}};
  const auto output = chain->forward(upkeep);
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_TRUE(output->sampled.empty());
  const auto again = chain->logits_after(0, 0, prompt);
  ASSERT_TRUE(again) << again.error().message;
  expect_equal(*again, alone(bench, options(), prompt));
}

INSTANTIATE_TEST_SUITE_P(Streams, KvUpkeep, ::testing::Values(0));
INSTANTIATE_TEST_SUITE_P(Pool, KvUpkeep, ::testing::Values(1024));

TEST(RecurrentModel, ForgetsAndCopiesSequencesOnlyAsAWhole) {
  const Bench bench(tiny("plamo2"));
  Chain::Options options;
  options.parallel = 2;
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(12, kVocabulary);
  ASSERT_TRUE(chain->logits_after(0, 0, prompt));
  StageInput input;
  input.kv_ops = {{.kind = KvOp::Kind::kTruncate, .slot = 0, .from = 0, .length = 5}};
  EXPECT_EQ(chain->forward(input).error().code, ErrorCode::kUnsupported);
  input.kv_ops = {{.kind = KvOp::Kind::kCopy, .slot = 1, .from = 0, .length = 5}};
  EXPECT_EQ(chain->forward(input).error().code, ErrorCode::kUnsupported);
  input.kv_ops = {{.kind = KvOp::Kind::kCopy, .slot = 1, .from = 0, .length = 12}};
  ASSERT_TRUE(chain->forward(input));
  const auto more = some_tokens(3, kVocabulary, 2);
  const auto copied = chain->logits_after(1, 12, more);
  ASSERT_TRUE(copied) << copied.error().message;
  expect_near(*copied, alone(bench, options, joined(prompt, more)), 0.05F);
  input.kv_ops = {{.kind = KvOp::Kind::kTruncate, .slot = 0, .from = 0, .length = 0}};
  ASSERT_TRUE(chain->forward(input));
  const auto again = chain->logits_after(0, 0, more);
  ASSERT_TRUE(again) << again.error().message;
  expect_near(*again, alone(bench, options, more), 0.05F);
}

TEST(LlamaStage, WithoutTheNodeRunsAsOneStageOnly) {
  const Bench bench(tiny("plamo2"));
  const auto cut = bench.chain(cut_in_two());
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(cut.error().message, HasSubstr("l_out-1"));
  EXPECT_THAT(cut.error().message, HasSubstr("one stage"));
  const auto prompt = some_tokens(20, kVocabulary);
  expect_near(alone(bench, {}, prompt), WholeModel(bench.path(), {}).logits_after(prompt), 1e-4F);
}

TEST(LlamaStage, RefusesARangeOfAHybridWithLayersOfOneKind) {
  const Bench bench(tiny("lfm2"));  // layer 2 of 4 has attention
  const auto cut = bench.chain(cut_in_two());
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(cut.error().message, HasSubstr("only the latter"));
}

TEST(LlamaStage, FullPoolIsExhaustedAndASmallerStepFits) {
  const Bench bench;
  Chain::Options options;
  options.parallel = 3;
  options.context = 256;
  options.kv_cells = 256;
  options.max_step_rows = 128;
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(100, kVocabulary, 1);
  ASSERT_TRUE(chain->logits_after(0, 0, prompt));
  ASSERT_TRUE(chain->logits_after(1, 0, prompt));
  const auto full = chain->logits_after(2, 0, prompt);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::kExhausted);
  const auto fewer = some_tokens(20, kVocabulary, 2);
  const auto fits = chain->logits_after(2, 0, fewer);
  ASSERT_TRUE(fits) << fits.error().message;
  expect_near(*fits, alone(bench, options, fewer), 0.05F);
}

TEST(LlamaStage, GivesTheLogitsOfMoreRowsThanOneCallReturns) {
  const Bench bench;
  auto chain = bench.chain(cut_in_two());
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(50, kVocabulary);
  StageInput input;
  input.rows = rows_of(0, 0, prompt);
  for (StepRow& row : input.rows) row.wants_output = true;
  input.outputs.assign(prompt.size(), raw_logits());
  const auto output = chain->forward(input);
  ASSERT_TRUE(output) << output.error().message;
  ASSERT_EQ(output->sampled.size(), prompt.size());
  for (const std::size_t length : {1, 16, 17, 33, 50}) {
    expect_near(output->sampled[length - 1].logits,
                alone(bench, {}, {prompt.begin(), prompt.begin() + static_cast<int>(length)}),
                0.05F);
  }
}

TEST(LlamaStage, StepPastItsDeadlineIsAbandoned) {
  const Bench bench;
  Chain::Options options = cut_in_two();
  options.step_deadline = Duration(1);
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  const auto late = chain->logits_after(0, 0, some_tokens(20, kVocabulary));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kDeadline);
  EXPECT_THAT(late.error().message, HasSubstr("layers 0-2 on cpu0"));
  // The slot starts anew: position 0 is what is expected next.
  EXPECT_EQ(chain->logits_after(0, 1, {1}).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(chain->logits_after(0, 0, {1}).error().code, ErrorCode::kDeadline);
}

TEST(LlamaStage, StopBeforeTheStepCancelsIt) {
  const Bench bench;
  auto chain = bench.chain({});
  ASSERT_TRUE(chain) << chain.error().message;
  std::stop_source stop;
  stop.request_stop();
  StageInput input;
  input.rows = rows_of(0, 0, {1, 2});
  input.outputs = {raw_logits()};
  EXPECT_EQ(chain->stage(0).forward(input, stop.get_token()).error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(chain->stage(0).forward(input, {}));
}

TEST(LlamaStage, RefusesAnOlderEpoch) {
  const Bench bench;
  auto chain = bench.chain({});
  ASSERT_TRUE(chain) << chain.error().message;
  StageInput input;
  input.epoch = 7;
  ASSERT_TRUE(chain->forward(input));
  input.epoch = 6;
  EXPECT_EQ(chain->forward(input).error().code, ErrorCode::kUnavailable);
  input.epoch = 8;
  EXPECT_TRUE(chain->forward(input));
}

TEST(LlamaStage, SamplesEachRowByItsOwnSpec) {
  const Bench bench;
  Chain::Options options;
  options.parallel = 2;
  options.cuts = {2};
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  const auto prompt = some_tokens(12, kVocabulary);
  const auto logits = alone(bench, options, prompt);
  const Token best = testing::most_likely(logits);
  SamplingSpec greedy;
  greedy.temperature = 0;
  SamplingSpec banned = greedy;
  banned.logit_bias = {{best, -100}};
  banned.top_logprobs = 2;
  StageInput input;
  input.rows = rows_of(0, 0, prompt);
  for (const StepRow& row : rows_of(1, 0, prompt)) input.rows.push_back(row);
  input.outputs.resize(2);
  input.outputs[0].sampling = std::make_shared<const SamplingSpec>(greedy);
  input.outputs[1].sampling = std::make_shared<const SamplingSpec>(banned);
  const auto output = chain->forward(input);
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(output->sampled[0].event.chosen.token, best);
  EXPECT_TRUE(output->sampled[0].event.top.empty());
  EXPECT_NE(output->sampled[1].event.chosen.token, best);
  EXPECT_EQ(output->sampled[1].event.top.size(), 2U);
  EXPECT_GT(output->busy, Duration::zero());
}

struct BadInput {
  std::string name;
  StageInput input;
};
void PrintTo(const BadInput& bad, std::ostream* out) { *out << bad.name; }

StageInput step_of(std::vector<StepRow> rows, std::size_t outputs) {
  StageInput input;
  input.rows = std::move(rows);
  input.outputs.assign(outputs, raw_logits());
  return input;
}

std::vector<BadInput> bad_inputs() {
  const auto good = rows_of(0, 0, {1, 2, 3});
  std::vector<BadInput> all;
  all.push_back({"PositionAhead", step_of(rows_of(0, 1, {1}), 1)});
  all.push_back({"PositionNegative", step_of(rows_of(0, -1, {1}), 1)});
  all.push_back({"PositionTwice", step_of({{0, 0, 1, false}, {0, 0, 1, true}}, 1)});
  all.push_back({"SlotAbove", step_of(rows_of(2, 0, {1}), 1)});
  all.push_back({"SlotNegative", step_of(rows_of(-1, 0, {1}), 1)});
  all.push_back({"TokenAbove", step_of(rows_of(0, 0, {288}), 1)});
  all.push_back({"TokenNegative", step_of(rows_of(0, 0, {-1}), 1)});
  all.push_back({"TooManyRows", step_of(rows_of(0, 0, std::vector<Token>(65, 1)), 1)});
  all.push_back({"NoOutputSpec", step_of(good, 0)});
  all.push_back({"TwoOutputSpecs", step_of(good, 2)});
  StageInput hidden = step_of(good, 1);
  hidden.hidden.resize(128);
  all.push_back({"HiddenForTheFirstStage", hidden});
  StageInput no_spec = step_of(good, 1);
  no_spec.outputs[0].raw_logits = false;
  all.push_back({"OutputSpecWithoutSampling", no_spec});
  for (const auto& [name, op] :
       {std::pair{"TruncateSlotAbove", KvOp{KvOp::Kind::kTruncate, 2, 0, 0}},
        {"TruncateNegativeSlot", KvOp{KvOp::Kind::kTruncate, -1, 0, 0}},
        {"TruncateNegativeLength", KvOp{KvOp::Kind::kTruncate, 0, 0, -1}},
        {"CopyFromSlotAbove", KvOp{KvOp::Kind::kCopy, 0, 2, 0}},
        {"CopyFromNegativeSlot", KvOp{KvOp::Kind::kCopy, 0, -1, 0}},
        {"CopyMoreThanThereIs", KvOp{KvOp::Kind::kCopy, 0, 1, 1}}}) {
    StageInput input = step_of(good, 1);
    input.kv_ops = {op};
    all.push_back({name, std::move(input)});
  }
  return all;
}

class BadSteps : public ::testing::TestWithParam<BadInput> {};

TEST_P(BadSteps, AreRefusedAndTheStageLives) {
  const Bench bench;
  Chain::Options options;
  options.parallel = 2;
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  const auto refused = chain->forward(GetParam().input);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt) << refused.error().message;
  EXPECT_THAT(refused.error().message, HasSubstr("[stage] tiny layers 0-4 on cpu0"));
  EXPECT_TRUE(chain->logits_after(0, 0, {1, 2, 3}));
}

INSTANTIATE_TEST_SUITE_P(All, BadSteps, ::testing::ValuesIn(bad_inputs()),
                         [](const auto& instance) { return instance.param.name; });

TEST(LlamaStage, RefusesHiddenRowsOfAnotherWidth) {
  const Bench bench;
  auto chain = bench.chain(cut_in_two());
  ASSERT_TRUE(chain) << chain.error().message;
  StageInput input = step_of(rows_of(0, 0, {1, 2}), 1);
  input.hidden.resize(2 * 128 - 1);
  EXPECT_EQ(chain->stage(1).forward(input, {}).error().code, ErrorCode::kCorrupt);
  input.hidden.resize(2 * 128);
  EXPECT_TRUE(chain->stage(1).forward(input, {}));
}

TEST(LlamaStage, RefusesPositionsPastTheContext) {
  const Bench bench;
  Chain::Options options;
  options.context = 20;  // libllama rounds up; what was agreed is what holds
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  ASSERT_TRUE(chain->logits_after(0, 0, some_tokens(20, kVocabulary)));
  EXPECT_EQ(chain->logits_after(0, 20, {1}).error().code, ErrorCode::kCorrupt);
}

TEST(LlamaStage, NotANumberEndsItsRowOnly) {
  const Bench bench;
  Chain::Options options;
  options.cuts = {2};
  options.parallel = 2;
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  SamplingSpec greedy;
  greedy.temperature = 0;
  OutputSpec sampled;
  sampled.sampling = std::make_shared<const SamplingSpec>(greedy);
  StageInput input;
  input.rows = {{0, 0, 1, true}, {1, 0, 1, true}};
  input.outputs = {sampled, sampled};
  input.hidden.assign(2 * 128, 0.1F);
  std::fill_n(input.hidden.begin(), 128, std::nanf(""));
  const auto output = chain->stage(1).forward(input, {});
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_THAT(output->sampled[0].error, HasSubstr("layers 2-4 on cpu0"));
  EXPECT_EQ(output->sampled[1].error, "");
}

TEST(LlamaStage, TellsWhatTheBackendTook) {
  const TinyModel model = tiny();
  const Bench bench(model);
  Chain::Options options;
  options.parallel = 2;
  options.context = 512;
  auto chain = bench.chain(options);
  ASSERT_TRUE(chain) << chain.error().message;
  const StageMemory memory = chain->stage(0).memory();
  const auto file = static_cast<double>(std::filesystem::file_size(bench.path()));
  EXPECT_NEAR(static_cast<double>(memory.weights), file, 0.05 * file);
  const double kv = 2.0 * model.n_layers * (model.n_embd / model.n_heads * model.n_kv_heads) * 2 *
                    options.context * options.parallel;
  EXPECT_NEAR(static_cast<double>(memory.kv), kv, 0.02 * kv);
  EXPECT_GT(memory.compute, 0U);
}

class MakingAStage : public ::testing::Test {
 protected:
  MakingAStage() {
    spec_.model = "tiny";
    spec_.path = bench_.path();
    spec_.layers = {0, 4};
    spec_.n_layers = 4;
    spec_.device = testing::cpu_device();
    spec_.context = 64;
  }
  Result<std::unique_ptr<Stage>> make(std::stop_token stop = {}) {
    return make_llama_stage_factory()->make(
        spec_, [this](double share) { progress_.push_back(share); }, stop);
  }
  ErrorCode code() {
    auto stage = make();
    EXPECT_FALSE(stage);
    return stage ? ErrorCode::kInternal : stage.error().code;
  }

  const Bench bench_;
  StageSpec spec_;
  std::vector<double> progress_;
};

TEST_F(MakingAStage, ReportsProgressUpToTheEnd) {
  ASSERT_TRUE(make());
  ASSERT_FALSE(progress_.empty());
  EXPECT_TRUE(std::ranges::is_sorted(progress_));
  EXPECT_EQ(progress_.back(), 1.0);
  EXPECT_EQ(std::ranges::count(progress_, 1.0), 1);
}

TEST_F(MakingAStage, EndsWhenToldTo) {
  std::stop_source stop;
  stop.request_stop();
  auto stage = make(stop.get_token());
  ASSERT_FALSE(stage);
  EXPECT_EQ(stage.error().code, ErrorCode::kCancelled);
}

TEST_F(MakingAStage, RefusesLayersOutsideTheModel) {
  spec_.layers = {2, 2};
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
  spec_.layers = {0, 5};
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
}

TEST_F(MakingAStage, RefusesAFileOfOtherLayers) {
  spec_.n_layers = 5;
  spec_.layers = {0, 5};
  EXPECT_EQ(code(), ErrorCode::kCorrupt);
}

TEST_F(MakingAStage, RefusesSizesLibllamaDoesNotTake) {
  spec_.parallel = 0;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
  spec_.parallel = 100000;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
  spec_.parallel = 1;
  spec_.context = 0;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
  spec_.context = 0xFFFFFFFF;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
  spec_.context = 64;
  spec_.max_step_rows = 0;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
}

TEST_F(MakingAStage, RefusesADeviceThatIsNotThere) {
  spec_.device.ggml_index = 1000;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
}

TEST_F(MakingAStage, RefusesCoresThatAreNotThereWhenTheyWereAskedFor) {
  spec_.device.cores = {4000};
  spec_.device.pinned = true;
  EXPECT_EQ(code(), ErrorCode::kInvalidArgument);
}

TEST_F(MakingAStage, RefusesAFileThatIsNone) {
  spec_.path = "/nonexistent.gguf";
  EXPECT_EQ(code(), ErrorCode::kCorrupt);
}

TEST_F(MakingAStage, HasRoomForMoreSequencesThanRows) {
  spec_.parallel = 20;
  spec_.max_step_rows = 4;
  auto stage = make();
  ASSERT_TRUE(stage) << stage.error().message;
  StageInput input;
  for (SlotId slot = 16; slot < 20; ++slot) input.rows.push_back({slot, 0, 1, true});
  input.outputs.assign(4, raw_logits());
  EXPECT_TRUE((*stage)->forward(input, {}));
}

// ggml lists Vulkan devices that compute on the CPU only when they are asked for by number, and
// looks once a process: before main(), so that the order of the tests does not matter.
const int kMesaIsShown = setenv("GGML_VK_VISIBLE_DEVICES", "0", /*overwrite=*/0);

// What scripts/setup.sh installs. Where it is, the device must be too.
bool has_mesas_vulkan_driver() {
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator("/usr/share/vulkan/icd.d", ignored)) {
    if (entry.path().filename().string().starts_with("lvp_icd")) return true;
  }
  return false;
}

// Mesa's CPU device stands in for a GPU: another backend, other memory, other kernels.
TEST(TwoBackends, GiveTheGreedyTokensOfOne) {
  ASSERT_EQ(kMesaIsShown, 0);
  const auto gpu = testing::vulkan_device();
  if (!gpu && !has_mesas_vulkan_driver()) GTEST_SKIP() << "no Vulkan driver (scripts/setup.sh)";
  ASSERT_TRUE(gpu) << "Mesa's Vulkan driver is installed, but ggml lists no Vulkan device";
  const Bench bench;
  const auto greedy = [&](const std::vector<Device>& devices, std::vector<std::uint32_t> cuts) {
    Chain::Options options;
    options.cuts = std::move(cuts);
    options.devices = devices;
    auto chain = bench.chain(options);
    EXPECT_TRUE(chain) << chain.error().message;
    std::vector<Token> tokens;
    std::vector<Token> next = some_tokens(30, kVocabulary);
    std::int32_t position = 0;
    for (int i = 0; i < 8 && chain; ++i) {
      const auto logits = chain->logits_after(0, position, next);
      EXPECT_TRUE(logits) << logits.error().message;
      position += static_cast<std::int32_t>(next.size());
      next = {testing::most_likely(*logits)};
      tokens.push_back(next[0]);
    }
    return tokens;
  };
  const Device cpu = testing::cpu_device();
  const auto expected = greedy({cpu}, {});
  EXPECT_EQ(greedy({cpu, *gpu}, {2}), expected);
  EXPECT_EQ(greedy({*gpu, cpu}, {2}), expected);
  EXPECT_EQ(greedy({*gpu}, {}), expected);
}

}  // namespace
}  // namespace gogrid

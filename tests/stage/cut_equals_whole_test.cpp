// The first of all tests: a model cut in two or three gives, bit for bit, the logits that stock
// libllama gives for the whole file.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "support/stage_harness.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using testing::Chain;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyVocabulary;
using testing::TinyWeights;
using testing::WholeModel;

constexpr int kDecoded = 32;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

float greatest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float greatest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    greatest = std::max(greatest, std::abs(a[i] - b[i]));
  }
  return greatest;
}

// Two chunks of prompt, then greedy tokens; every chunk's logits are compared.
void expect_same_logits(const std::filesystem::path& model, const Chain::Options& options,
                        std::uint32_t n_vocab, bool repack = true) {
  SCOPED_TRACE(model.string());
  const TemporaryFolder scratch;
  auto chain = Chain::make(model, scratch, options);
  ASSERT_TRUE(chain) << chain.error().message;
  ASSERT_EQ(chain->size(), options.cuts.size() + 1);
  WholeModel whole(model, {.context = options.context,
                           .max_step_rows = options.max_step_rows,
                           .flash_attention = !options.deterministic,
                           .repack = repack});
  std::vector<Token> next = testing::some_tokens(41, n_vocab);
  std::int32_t position = 0;
  for (int step = 0; step < kDecoded + 2; ++step) {
    const auto expected = whole.logits_after(next);
    const auto got = chain->logits_after(0, position, next);
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_TRUE(same_bits(*got, expected))
        << "step " << step << ": greatest difference " << greatest_difference(*got, expected);
    position += static_cast<std::int32_t>(next.size());
    next = step == 0 ? testing::some_tokens(23, n_vocab, 2)
                     : std::vector<Token>{testing::most_likely(expected)};
  }
}

struct Case {
  std::string name;
  TinyModel model;
  std::vector<std::uint32_t> cuts;
  float embedding_scale = 1.0F;
  bool deterministic = false;
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

TinyModel tiny(std::string architecture, std::uint32_t n_layers = 4) {
  TinyModel model;
  model.architecture = std::move(architecture);
  model.n_layers = n_layers;
  return model;
}

TinyModel with(TinyModel model, TinyWeights weights) {
  model.weights = weights;
  model.n_embd = 256;
  return model;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](std::string name, TinyModel model, std::vector<std::uint32_t> cuts,
                       float scale = 1.0F) {
    all.push_back({name, model, cuts, scale, false});
    all.push_back({name + "Deterministic", std::move(model), std::move(cuts), scale, true});
  };
  add("LlamaInTwo", tiny("llama"), {2});
  add("LlamaInThree", tiny("llama"), {1, 3});
  TinyModel tied = tiny("llama");
  tied.tied = true;
  add("LlamaTiedInTwo", tied, {3});
  TinyModel sentencepiece = tiny("llama");
  sentencepiece.vocabulary = TinyVocabulary::kSpm;
  add("LlamaSentencePieceInTwo", sentencepiece, {2});
  TinyModel mixture = tiny("llama");
  mixture.n_experts = 4;
  add("LlamaMixtureInThree", mixture, {1, 2});
  for (const auto& [name, weights] : {std::pair{"LlamaF16", TinyWeights::kF16},
                                      {"LlamaQ8", TinyWeights::kQ8_0},
                                      {"LlamaQ40", TinyWeights::kQ4_0},
                                      {"LlamaQ41", TinyWeights::kQ4_1},
                                      {"LlamaQ4K", TinyWeights::kQ4_K}}) {
    add(name + std::string("InTwo"), with(tiny("llama"), weights), {2});
  }
  add("Qwen2InTwo", tiny("qwen2"), {1});
  add("Qwen2InThree", tiny("qwen2"), {1, 2});
  add("Qwen3InTwo", tiny("qwen3"), {2});
  const float gemma_scale = std::sqrt(static_cast<float>(TinyModel{}.n_embd));
  add("Gemma3InTwo", tiny("gemma3", 12), {6}, gemma_scale);
  add("Gemma3InThree", tiny("gemma3", 18), {6, 12}, gemma_scale);
  TinyModel phi2 = tiny("phi2");
  phi2.n_kv_heads = phi2.n_heads;
  add("Phi2InTwo", phi2, {2});
  add("Phi3InThree", tiny("phi3"), {1, 3});
  add("Qwen2MoeInTwo", tiny("qwen2moe"), {2});
  add("Qwen3MoeInThree", tiny("qwen3moe"), {2, 3});
  add("Lfm2InTwo", tiny("lfm2", 8), {3});
  return all;
}

class CutEqualsWhole : public ::testing::TestWithParam<Case> {};

TEST_P(CutEqualsWhole, BitForBit) {
  const Case& param = GetParam();
  const TemporaryFolder scratch;
  const auto path = scratch.path() / "tiny.gguf";
  write_tiny_model(path, param.model);
  Chain::Options options;
  options.cuts = param.cuts;
  options.embedding_scale = param.embedding_scale;
  options.deterministic = param.deterministic;
  expect_same_logits(path, options, testing::tiny_vocabulary_size(param.model),
                     !(param.deterministic && param.model.weights == TinyWeights::kQ4_K));
}

INSTANTIATE_TEST_SUITE_P(Tiny, CutEqualsWhole, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

// The comparison itself must be able to fail: off the pattern of its layers the logits differ.
TEST(CutEqualsWholeCheck, SeesACutOffThePattern) {
  const TemporaryFolder scratch;
  const auto path = scratch.path() / "tiny.gguf";
  const TinyModel model = tiny("gemma3", 12);
  write_tiny_model(path, model);
  Chain::Options options;
  options.cuts = {5};
  options.embedding_scale = std::sqrt(static_cast<float>(model.n_embd));
  auto chain = Chain::make(path, scratch, options);
  ASSERT_TRUE(chain) << chain.error().message;
  const auto tokens = testing::some_tokens(41, testing::tiny_vocabulary_size(model));
  const auto got = chain->logits_after(0, 0, tokens);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_GT(greatest_difference(*got, WholeModel(path, {}).logits_after(tokens)), 0.01F);
}

TEST(CutEqualsWholeRealModel, SmolLm2BitForBit) {
  const auto path = testing::real_model();
  if (path.empty()) GTEST_SKIP() << "GOGRID_TEST_MODEL names no SmolLM2-135M file";
  for (const auto& cuts : {std::vector<std::uint32_t>{15}, {7, 20}, {1, 29}}) {
    Chain::Options options;
    options.cuts = cuts;
    expect_same_logits(path, options, 49152);
  }
}

}  // namespace
}  // namespace gogrid

#include "model/type_candidates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/files.h"
#include "support/quantized.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

class TypeCandidates : public ::testing::Test {
 protected:
  GgufFile model(TinyModel tiny = {}) {
    if (tiny.n_embd == TinyModel{}.n_embd) tiny.n_embd = 256;
    tiny.n_ff = 512;
    if (tiny.weights == TinyWeights::kF32) tiny.weights = TinyWeights::kF16;
    testing::write_tiny_model(folder_ / "model.gguf", tiny);
    return GgufFile::open(folder_ / "model.gguf").value();
  }
  static CandidateModel candidates(const GgufFile& file, const QuantizeOptions& options = {},
                                   std::size_t most_groups = 1000) {
    auto made = type_candidates(file, options, most_groups);
    if (!made) throw std::runtime_error(made.error().message);
    return *std::move(made);
  }
  static const CandidateTensor* find(const CandidateModel& model, std::string_view name) {
    const auto found = std::ranges::find_if(
        model.tensors, [&](const CandidateTensor& one) { return one.tensor->name == name; });
    return found == model.tensors.end() ? nullptr : &*found;
  }
  static std::vector<std::string> types(const CandidateTensor& tensor) {
    std::vector<std::string> names;
    for (const TypeCandidate& candidate : tensor.types) names.emplace_back(candidate.type.name);
    return names;
  }
  static Status measure(const GgufFile& file, CandidateModel& model) {
    return measure_errors(file, model, 2, [](double) { return true; });
  }

  const TemporaryFolder folder_;
};

TEST_F(TypeCandidates, AreTheTensorsThatLibllamaQuantizes) {
  const GgufFile file = model();
  const CandidateModel made = candidates(file);
  EXPECT_NE(find(made, "token_embd.weight"), nullptr);
  EXPECT_NE(find(made, "output.weight"), nullptr);
  EXPECT_NE(find(made, "blk.3.ffn_down.weight"), nullptr);
  EXPECT_EQ(find(made, "blk.3.attn_norm.weight"), nullptr);
  EXPECT_EQ(made.tensors.size(), 2 + 4 * 7U);
  for (const CandidateTensor& tensor : made.tensors) {
    EXPECT_TRUE(std::ranges::is_sorted(tensor.types, {}, &TypeCandidate::bytes));
    EXPECT_EQ(tensor.types.back().type.name, "f16") << "as it is";
  }
}

TEST_F(TypeCandidates, OfRowsThatAreNoMultipleOf256AreTypesOfShortBlocks) {
  const GgufFile file = model({.n_embd = 96});
  const CandidateModel made = candidates(file);
  EXPECT_THAT(types(*find(made, "blk.0.attn_q.weight")), Not(Contains("q4_K")));
  EXPECT_THAT(types(*find(made, "blk.0.attn_q.weight")), Contains("q4_0"));
  EXPECT_THAT(types(*find(made, "blk.0.ffn_down.weight")), Contains("q4_K"));
}

TEST_F(TypeCandidates, BelowThreeBitsNeedAnImportanceMatrix) {
  const GgufFile file = model();
  EXPECT_THAT(types(*find(candidates(file), "blk.0.attn_q.weight")), Not(Contains("iq2_xs")));
  ImportanceMatrix importance;
  importance.entries["blk.0.attn_q.weight"] = {std::vector<float>(256, 2.0F), {2.0F}};
  QuantizeOptions options;
  options.importance = &importance;
  const CandidateModel made = candidates(file, options);
  EXPECT_THAT(types(*find(made, "blk.0.attn_q.weight")), Contains("iq2_xs"));
  EXPECT_THAT(find(made, "blk.0.attn_q.weight")->importance, Each(1.0F));
  EXPECT_THAT(types(*find(made, "blk.1.attn_q.weight")), Not(Contains("iq2_xs")));
}

TEST_F(TypeCandidates, LeaveOutWhatTheCallerChose) {
  const GgufFile file = model();
  QuantizeOptions options;
  options.overrides = {parse_tensor_override("attn_v=q5_1").value()};
  options.token_embedding_type = find_weight_type("q8_0").value();
  const CandidateModel made = candidates(file, options);
  EXPECT_EQ(find(made, "blk.2.attn_v.weight"), nullptr);
  EXPECT_EQ(find(made, "token_embd.weight"), nullptr);
  EXPECT_NE(find(made, "output.weight"), nullptr);
  EXPECT_EQ(made.tensors.size(), 1 + 4 * 6U);
  // What is chosen counts with the bytes it will have.
  const CandidateModel all = candidates(file);
  EXPECT_GT(made.fixed_bytes, all.fixed_bytes);
  EXPECT_LT(made.fixed_bytes, all.fixed_bytes + 2 * file.tensor("token_embd.weight")->size);
}

// What is planned with the smallest types is what their sizes said.
TEST_F(TypeCandidates, KnowTheSizeOfTheFile) {
  const GgufFile file = model();
  const CandidateModel made = candidates(file);
  std::vector<TypedTensor> smallest;
  for (const CandidateTensor& tensor : made.tensors)
    smallest.push_back({std::string(tensor.tensor->name), tensor.types.front().type});
  QuantizeOptions options{.mix = find_mix("q4_0").value()};
  options.overrides = overrides_for(smallest);
  const auto plan = plan_quantization(file, options);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_TRUE(testing::write_quantized(file, folder_ / "made.gguf", options, *plan));
  const Bytes size = std::filesystem::file_size(folder_ / "made.gguf");
  EXPECT_LE(size, made.smallest_file());
  EXPECT_GT(size + 8 * kKiB, made.smallest_file());
}

TEST_F(TypeCandidates, GroupPartsOfNeighbouringLayers) {
  const GgufFile file = model({.n_layers = 6});
  const CandidateModel all = candidates(file);
  EXPECT_EQ(all.groups, 2 + 6 * 7U);
  const CandidateModel made = candidates(file, {}, 30);
  EXPECT_EQ(made.groups, 2 + 3 * 7U);
  EXPECT_EQ(find(made, "blk.0.attn_q.weight")->group, find(made, "blk.1.attn_q.weight")->group);
  EXPECT_NE(find(made, "blk.1.attn_q.weight")->group, find(made, "blk.2.attn_q.weight")->group);
  EXPECT_NE(find(made, "blk.0.attn_q.weight")->group, find(made, "blk.0.attn_k.weight")->group);
  std::set<std::size_t> numbers;
  for (const CandidateTensor& tensor : made.tensors) numbers.insert(tensor.group);
  EXPECT_EQ(numbers.size(), made.groups);
  EXPECT_EQ(*numbers.rbegin(), made.groups - 1);
}

TEST_F(TypeCandidates, DropTypesThatAreFarBelowTheSize) {
  const GgufFile file = model();
  CandidateModel made = candidates(file);
  drop_tiny_types(made, file.file_size() * 7 / 8);
  EXPECT_THAT(types(*find(made, "blk.0.attn_q.weight")), Not(Contains("q2_K")));
  EXPECT_THAT(types(*find(made, "blk.0.attn_q.weight")), Contains("q8_0"));
  CandidateModel tight = candidates(file);
  drop_tiny_types(tight, tight.smallest_file());
  EXPECT_THAT(types(*find(tight, "blk.0.attn_q.weight")), Contains("q2_K"));
}

TEST_F(TypeCandidates, HaveErrorsThatFallWithTheirBits) {
  const GgufFile file = model();
  CandidateModel made = candidates(file);
  ASSERT_TRUE(measure(file, made));
  for (const CandidateTensor& tensor : made.tensors) {
    EXPECT_EQ(tensor.types.back().error, 0);
    for (const TypeCandidate& candidate : tensor.types) {
      if (candidate.type.name == "f16") continue;
      EXPECT_GT(candidate.error, 0);
      EXPECT_LT(candidate.error, 0.5);
    }
    const TypeCandidate& trial = trial_type(tensor);
    EXPECT_GT(trial.error, 0.005) << trial.type.name;
    EXPECT_LT(trial.error, 0.08) << trial.type.name;
  }
}

TEST_F(TypeCandidates, StopMeasuringWhenTold) {
  const GgufFile file = model();
  CandidateModel made = candidates(file);
  int told = 0;
  const auto done = measure_errors(file, made, 2, [&](double) { return ++told < 3; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCancelled);
  EXPECT_LT(told, 8);
}

// A group's divergence is shared out by the errors of its tensors.
TEST_F(TypeCandidates, LossIsErrorTimesTheSensitivityOfTheGroup) {
  const GgufFile file = model({.n_layers = 2});
  CandidateModel made = candidates(file, {}, 9);
  ASSERT_TRUE(measure(file, made));
  std::vector<double> divergences(made.groups, 0.0);
  const std::size_t group = find(made, "blk.0.attn_q.weight")->group;
  divergences[group] = 0.25;
  const auto losses = losses_of(made, divergences);
  double sum = 0;
  for (std::size_t i = 0; i < made.tensors.size(); ++i) {
    const CandidateTensor& tensor = made.tensors[i];
    const auto trial = static_cast<std::size_t>(&trial_type(tensor) - tensor.types.data());
    if (tensor.group == group) sum += losses[i][trial].loss;
    for (std::size_t t = 0; t < tensor.types.size(); ++t) {
      EXPECT_EQ(losses[i][t].bytes, tensor.types[t].bytes);
      if (tensor.group != group) {
        EXPECT_EQ(losses[i][t].loss, 0);
      }
    }
    EXPECT_EQ(losses[i].back().loss, 0) << "as it is";
  }
  EXPECT_NEAR(sum, 0.25, 1e-12);
}

TEST_F(TypeCandidates, ADivergenceBelowNothingIsNothing) {
  const GgufFile file = model({.n_layers = 1, .n_kv_heads = 1});
  CandidateModel made = candidates(file);
  ASSERT_TRUE(measure(file, made));
  for (const TypeOptions& options : losses_of(made, std::vector<double>(made.groups, -1e-9)))
    for (const TypeOption& option : options) EXPECT_EQ(option.loss, 0);
}

TEST_F(TypeCandidates, RefuseWeightsThatAreQuantizedAlreadyUnlessAllowed) {
  const GgufFile file = model({.weights = TinyWeights::kQ8_0});
  const auto refused = type_candidates(file, {}, 10);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("--allow-requantize"));
  QuantizeOptions options;
  options.allow_requantize = true;
  EXPECT_EQ(find(candidates(file, options), "output.weight")->types.back().type.name, "q8_0");
}

}  // namespace
}  // namespace gogrid

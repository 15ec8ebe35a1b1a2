// What layers become in a smaller type, against what is written.
#include "model/stage_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/gguf_slicer.h"
#include "support/quantized.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

class StageTypes : public ::testing::Test {
 protected:
  // Rows of 256 and 512, which every type's blocks divide.
  GgufFile model(TinyModel tiny = {}) {
    if (tiny.n_embd == 128) tiny.n_embd = 256;
    tiny.n_ff = 512;
    if (tiny.weights == TinyWeights::kF32) tiny.weights = TinyWeights::kF16;
    testing::write_tiny_model(folder_ / "model.gguf", tiny);
    return open("model.gguf");
  }
  GgufFile open(const std::string& name) {
    auto file = GgufFile::open(folder_ / name);
    if (!file) throw std::runtime_error(file.error().message);
    return *std::move(file);
  }
  GgufFile slice(const GgufFile& source, LayerRange range, const WeightType& type) {
    const Status written = write_slice(source, range, folder_ / "slice.gguf", {}, type);
    if (!written) throw std::runtime_error(written.error().message);
    return open("slice.gguf");
  }
  static std::string becomes(const GgufTensor& tensor, std::string_view type) {
    const auto made = type_in_slice(tensor, *find_stage_type(type));
    return made ? std::string(made->name) : "itself";
  }

  const TemporaryFolder folder_;
};

// A matrix of 256 columns, in f16 unless told otherwise.
GgufTensor tensor(std::string_view name, std::uint64_t columns = 256, std::uint32_t type = 1) {
  GgufTensor made;
  made.name = name;
  made.shape = {columns, 8, 1, 1};
  made.n_dims = 2;
  made.type = type;
  made.size = 8 * (type == 1 ? columns * 2 : columns / 32 * 18);
  return made;
}

TEST_F(StageTypes, AreFoundInAnyCaseAndOthersAreRefusedWithTheNearest) {
  EXPECT_EQ(find_stage_type("q4_k")->name, "q4_K");
  EXPECT_EQ(find_stage_type("Q8_0")->name, "q8_0");
  EXPECT_THAT(find_stage_type("q4_k_m").error().message, HasSubstr("did you mean q4_k"));
  // They would need an importance matrix, which nobody gives.
  for (const auto* name : {"iq2_xxs", "iq3_xxs", "iq1_s", "f32", "tq1_0", ""})
    EXPECT_FALSE(find_stage_type(name)) << name;
  for (const std::string& name : stage_type_names()) EXPECT_TRUE(find_stage_type(name)) << name;
}

TEST_F(StageTypes, ChangeTheMatricesOfLayersAndWhatChoosesTokensAndNothingElse) {
  EXPECT_EQ(becomes(tensor("blk.3.attn_q.weight"), "q4_k"), "q4_K");
  EXPECT_EQ(becomes(tensor("blk.3.ffn_down.weight"), "iq4_nl"), "iq4_nl");
  EXPECT_EQ(becomes(tensor("output.weight"), "q4_k"), "q6_K");
  EXPECT_EQ(becomes(tensor("token_embd.weight"), "q3_k"), "q6_K");
  EXPECT_EQ(becomes(tensor("output.weight"), "q8_0"), "q8_0");
  for (const auto* name :
       {"blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "position_embd.weight",
        "blk.0.attn_q.bias", "blk.0.ssm_conv1d.weight", "rope_freqs.weight"})
    EXPECT_EQ(becomes(tensor(name), "q4_k"), "itself") << name;
}

TEST_F(StageTypes, TakeAWiderTypeWhereRowsDoNotFitAndNoneWhereNoneFits) {
  EXPECT_EQ(becomes(tensor("blk.0.attn_q.weight", 288), "q4_k"), "q5_0");
  EXPECT_EQ(becomes(tensor("blk.0.attn_q.weight", 288), "q3_k"), "iq4_nl");
  EXPECT_EQ(becomes(tensor("output.weight", 288), "q4_0"), "q8_0");
  EXPECT_EQ(becomes(tensor("blk.0.attn_q.weight", 40), "q4_k"), "itself");
  EXPECT_EQ(becomes(tensor("blk.0.attn_q.weight", 40), "q8_0"), "itself");
}

TEST_F(StageTypes, MakeNothingLargerThanItIs) {
  const GgufTensor four_bits = tensor("blk.0.attn_q.weight", 256, 2);  // q4_0
  EXPECT_EQ(becomes(four_bits, "q8_0"), "itself");
  EXPECT_EQ(becomes(four_bits, "q4_k"), "itself");  // as many bits
  EXPECT_EQ(becomes(four_bits, "q3_k"), "q3_K");
  const GgufFile file = model({.weights = TinyWeights::kQ4_0});
  const auto smaller = smaller_layers(file, *read_profile(file));
  std::vector<std::string_view> names;
  for (const SmallerLayers& layers : smaller) names.push_back(layers.type.name);
  EXPECT_THAT(names, ::testing::ElementsAre("iq4_xs", "q3_K", "q2_K"));
}

TEST_F(StageTypes, CostMoreTheSmallerTheyAreAndTheWorstAreNotOffered) {
  const GgufFile file = model();
  double cost = 0;
  Bytes bytes = UINT64_MAX;
  std::vector<std::string_view> offered;
  for (const SmallerLayers& layers : smaller_layers(file, *read_profile(file))) {
    EXPECT_LE(layers.profile.layer_weights[0], bytes);
    bytes = layers.profile.layer_weights[0];
    if (!layers.cost) continue;
    EXPECT_GT(*layers.cost, cost) << layers.type.name;
    cost = *layers.cost;
    offered.push_back(layers.type.name);
  }
  EXPECT_THAT(offered, ::testing::ElementsAre("q8_0", "q6_K", "q5_K", "q4_K", "q3_K"));
}

// What is planned with is what is written: to the byte, for each architecture and each part.
TEST_F(StageTypes, HaveTheSizesThatSlicesOfThemHave) {
  for (const auto* architecture : {"llama", "qwen2moe", "gemma2", "lfm2", "phi3"}) {
    for (const bool tied : {false, true}) {
      const GgufFile file = model({.architecture = architecture,
                                   .n_layers = 4,
                                   .n_embd = 288,
                                   .n_heads = 9,
                                   .n_kv_heads = 3,
                                   .tied = tied});
      const ModelProfile profile = *read_profile(file);
      for (const SmallerLayers& layers : smaller_layers(file, profile)) {
        SCOPED_TRACE(std::string(architecture) + " " + std::string(layers.type.name));
        const GgufFile last = slice(file, {2, 4}, layers.type);
        const ModelProfile written = *read_profile(last);
        EXPECT_EQ(written.layer_weights[0], layers.profile.layer_weights[2]);
        EXPECT_EQ(written.layer_weights[1], layers.profile.layer_weights[3]);
        EXPECT_EQ(written.head_bytes, layers.profile.head_bytes);
        EXPECT_EQ(written.token_embedding_bytes, layers.profile.token_embedding_bytes);
        EXPECT_EQ(written.other_bytes, layers.profile.other_bytes);
        EXPECT_EQ(last.file_size(), *slice_size(file, {2, 4}, layers.type));
      }
    }
  }
}

// The same weights as libllama's quantizer, byte for byte.
TEST_F(StageTypes, AreWhatLibllamaMakesOfThem) {
  const GgufFile file = model({.n_layers = 3});
  for (const std::string& name : stage_type_names()) {
    SCOPED_TRACE(name);
    QuantizeOptions options{.mix = *find_mix(name == "q4_k" || name == "q5_k" || name == "q3_k"
                                                 ? name + (name == "q3_k" ? "_m" : "_s")
                                                 : name)};
    options.pure = true;
    const auto plan = plan_quantization(file, options);
    ASSERT_TRUE(plan) << plan.error().message;
    ASSERT_TRUE(testing::write_quantized(file, folder_ / "whole.gguf", options, *plan));
    const GgufFile whole = open("whole.gguf");
    const GgufFile part = slice(file, {1, 3}, *find_stage_type(name));
    int compared = 0;
    for (const GgufTensor& tensor : part.tensors()) {
      if (!tensor.name.starts_with("blk.1.")) continue;
      const GgufTensor* other = whole.tensor("blk.2." + std::string(tensor.name.substr(6)));
      ASSERT_NE(other, nullptr) << tensor.name;
      EXPECT_EQ(tensor.type_name, other->type_name) << tensor.name;
      EXPECT_TRUE(std::ranges::equal(part.data(tensor), whole.data(*other))) << tensor.name;
      ++compared;
    }
    EXPECT_GE(compared, 7);
  }
}

}  // namespace
}  // namespace gogrid

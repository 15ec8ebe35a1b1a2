#include "model/lora_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/memory_estimator.h"
#include "support/temporary_folder.h"
#include "support/tiny_adapter.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::TinyAdapter;
using testing::TinyModel;

constexpr Bytes kFloat = sizeof(float);

class LoraAdapterTest : public ::testing::Test {
 protected:
  LoraAdapterTest() {
    testing::write_tiny_model(folder_ / "base.gguf", model_);
    base_.emplace(*GgufFile::open(folder_ / "base.gguf"));
    profile_ = *read_profile(*base_);
  }

  GgufFile written(const TinyAdapter& adapter) const {
    return *GgufFile::open(adapter.write(folder_ / "adapter.gguf"));
  }
  Result<LoraAdapter> read(const TinyAdapter& adapter) const {
    return read_adapter(written(adapter), *base_, profile_);
  }
  // The refusal of an adapter; what it says.
  std::string refusal(const TinyAdapter& adapter, ErrorCode code) const {
    const auto result = read(adapter);
    EXPECT_FALSE(result);
    if (result) return "";
    EXPECT_EQ(result.error().code, code) << result.error().message;
    return result.error().message;
  }

  const TinyModel model_{};
  const testing::TemporaryFolder folder_;
  std::optional<GgufFile> base_;
  ModelProfile profile_;
};

TEST_F(LoraAdapterTest, IsReadWithWhatItAddsToEachLayer) {
  TinyAdapter adapter;
  adapter.change("blk.0.attn_q.weight", 128, 128, 4).change("blk.3.ffn_up.weight", 128, 256, 8);
  adapter.change("output.weight", 128, profile_.n_vocab, 2);
  const auto found = read(adapter);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->alpha, 16.0F);
  EXPECT_EQ(found->rank, 8U);
  EXPECT_EQ(found->matrices, 3U);
  EXPECT_EQ(found->layer_bytes, (std::vector<Bytes>{4 * 256 * kFloat, 0, 0, 8 * 384 * kFloat}));
  EXPECT_EQ(found->head_bytes, 2 * (128 + profile_.n_vocab) * kFloat);
  EXPECT_EQ(found->widest, std::max(256U, profile_.n_vocab));
}

TEST_F(LoraAdapterTest, IsNoModelAndAModelIsNoAdapter) {
  const GgufFile file = written(TinyAdapter().change_all());
  EXPECT_TRUE(is_adapter(file));
  EXPECT_FALSE(is_adapter(*base_));
  const auto as_model = read_profile(file);
  ASSERT_FALSE(as_model);
  EXPECT_EQ(as_model.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(as_model.error().message, HasSubstr("BASE+ADAPTER"));
  const auto as_adapter = read_adapter(*base_, *base_, profile_);
  ASSERT_FALSE(as_adapter);
  EXPECT_THAT(as_adapter.error().message, HasSubstr("expected an adapter: a model"));
}

TEST_F(LoraAdapterTest, ForAnotherBaseIsRefusedByWhatDiffers) {
  EXPECT_THAT(refusal(TinyAdapter("qwen2").change_all(), ErrorCode::kInvalidArgument),
              HasSubstr("expected an adapter of architecture llama"));
  EXPECT_THAT(
      refusal(TinyAdapter().change("blk.0.attn_q.weight", 128, 64), ErrorCode::kInvalidArgument),
      HasSubstr("blk.0.attn_q.weight of 128 by 128 numbers"));
  EXPECT_THAT(
      refusal(TinyAdapter().change("blk.4.attn_q.weight", 128, 128), ErrorCode::kInvalidArgument),
      HasSubstr("blk.4.attn_q.weight, which it has not"));
}

TEST_F(LoraAdapterTest, OfAnotherKindIsRefusedByItsKind) {
  EXPECT_THAT(refusal(TinyAdapter("llama", 16, "adapter", "control_vector").change_all(),
                      ErrorCode::kUnsupported),
              HasSubstr("type lora: control_vector"));
  TinyAdapter activated;
  activated.builder().key(
      "adapter.alora.invocation_tokens", testing::GgufBuilder::kArray,
      testing::GgufBuilder::array_of(testing::GgufBuilder::kU32, std::vector<std::uint32_t>{1, 2}));
  EXPECT_THAT(refusal(activated.change_all(), ErrorCode::kUnsupported), HasSubstr("aLoRA"));
}

TEST_F(LoraAdapterTest, WhatLibllamaWouldPassOverIsRefused) {
  EXPECT_THAT(refusal(TinyAdapter().change_all().half("output_norm.weight", {128}),
                      ErrorCode::kUnsupported),
              HasSubstr("output_norm.weight, which would be passed over"));
  EXPECT_THAT(refusal(TinyAdapter().change("token_embd.weight", 128, profile_.n_vocab),
                      ErrorCode::kUnsupported),
              HasSubstr("token embedding"));
  EXPECT_THAT(
      refusal(TinyAdapter().change("blk.0.attn_norm.weight", 128, 1), ErrorCode::kUnsupported),
      HasSubstr("is a vector"));
}

TEST_F(LoraAdapterTest, HalfAPairAndTwoRanksAreDamage) {
  EXPECT_THAT(
      refusal(TinyAdapter().half("blk.0.attn_q.weight.lora_a", {128, 4}), ErrorCode::kCorrupt),
      HasSubstr("blk.0.attn_q.weight.lora_b beside its other half"));
  EXPECT_THAT(refusal(TinyAdapter()
                          .half("blk.0.attn_q.weight.lora_a", {128, 4})
                          .half("blk.0.attn_q.weight.lora_b", {8, 128}),
                      ErrorCode::kCorrupt),
              HasSubstr("4 and 8"));
  EXPECT_THAT(refusal(TinyAdapter(), ErrorCode::kCorrupt), HasSubstr("it has none"));
  EXPECT_THAT(refusal(TinyAdapter("llama", std::numeric_limits<float>::infinity()).change_all(),
                      ErrorCode::kCorrupt),
              HasSubstr("adapter.lora.alpha"));
}

TEST_F(LoraAdapterTest, AnAlphaOfAnotherTypeIsDamage) {
  using testing::GgufBuilder;
  const std::vector<std::pair<std::uint32_t, std::string>> values{
      {GgufBuilder::kU32, GgufBuilder::number(std::uint32_t{16})},
      {GgufBuilder::kString, GgufBuilder::text("16")},
      {GgufBuilder::kArray, GgufBuilder::array_of(GgufBuilder::kF32, std::vector<float>{1, 2})}};
  for (const auto& [type, value] : values) {
    TinyAdapter adapter("llama", std::nullopt);
    adapter.builder().key("adapter.lora.alpha", type, value);
    EXPECT_THAT(refusal(adapter.change_all(), ErrorCode::kCorrupt),
                HasSubstr("adapter.lora.alpha"));
  }
}

TEST_F(LoraAdapterTest, WhatNoGraphIsKnownToChangeIsRefused) {
  EXPECT_THAT(refusal(TinyAdapter().change("blk.0.ssm_conv1d.weight", 128, 128),
                      ErrorCode::kInvalidArgument),
              HasSubstr("which it has not"));
  testing::write_tiny_model(folder_ / "lfm2.gguf", {.architecture = "lfm2"});
  const GgufFile lfm2 = *GgufFile::open(folder_ / "lfm2.gguf");
  const auto result =
      read_adapter(written(TinyAdapter("lfm2").change("blk.0.ffn_up.weight", 128, 256)), lfm2,
                   *read_profile(lfm2));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(result.error().message, HasSubstr("merge it into the base model"));
}

TEST_F(LoraAdapterTest, AModelWithoutAHeadOfItsOwnHasNoneToChange) {
  testing::write_tiny_model(folder_ / "tied.gguf", {.tied = true});
  const GgufFile tied = *GgufFile::open(folder_ / "tied.gguf");
  const auto result = read_adapter(written(TinyAdapter().change_all()), tied, *read_profile(tied));
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("output.weight, which it has not"));
}

TEST_F(LoraAdapterTest, APartHasTheLayersOfItsStageNumberedFromZero) {
  const GgufFile adapter = written(TinyAdapter().change_all(model_));
  const auto part = write_adapter_slice(adapter, {2, 4}, true, folder_.path());
  ASSERT_TRUE(part) << part.error().message;
  ASSERT_TRUE(*part);
  const GgufFile file = *GgufFile::open((*part)->path());
  EXPECT_TRUE(is_adapter(file));
  EXPECT_EQ(file.float_of("adapter.lora.alpha"), 16.0);
  EXPECT_EQ(file.tensors().size(), 2U * 6 + 2);
  for (const auto& [mine, source] :
       {std::pair{"blk.0.attn_q.weight.lora_a", "blk.2.attn_q.weight.lora_a"},
        {"blk.1.ffn_down.weight.lora_b", "blk.3.ffn_down.weight.lora_b"},
        {"output.weight.lora_b", "output.weight.lora_b"}}) {
    ASSERT_NE(file.tensor(mine), nullptr) << mine;
    EXPECT_TRUE(
        std::ranges::equal(file.data(*file.tensor(mine)), adapter.data(*adapter.tensor(source))))
        << mine;
  }
}

TEST_F(LoraAdapterTest, APartIsGoneWithItsOwnerAndThereIsNoneWhereNothingChanges) {
  const GgufFile adapter = written(TinyAdapter().change("blk.3.attn_q.weight", 128, 128));
  const auto none = write_adapter_slice(adapter, {0, 3}, false, folder_.path());
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  std::filesystem::path path;
  {
    const auto part = write_adapter_slice(adapter, {2, 4}, true, folder_.path());
    path = (*part)->path();
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(LoraAdapterTest, ItsBytesArePartOfTheEstimateOfEachStage) {
  TinyAdapter adapter;
  adapter.change("blk.0.attn_q.weight", 128, 128).change("output.weight", 128, profile_.n_vocab);
  ModelProfile both = profile_;
  ASSERT_TRUE(add_adapter(both, *base_, adapter.write(folder_ / "adapter.gguf")));
  const auto weights = [&](const ModelProfile& profile, LayerRange layers) {
    return estimate_memory(profile, {.layers = layers, .context = 64}).weights;
  };
  EXPECT_EQ(weights(both, {0, 2}), weights(profile_, {0, 2}) + 4 * 256 * kFloat);
  EXPECT_EQ(weights(both, {1, 2}), weights(profile_, {1, 2}));
  EXPECT_EQ(weights(both, {2, 4}),
            weights(profile_, {2, 4}) + 4 * (128 + profile_.n_vocab) * kFloat);
  EXPECT_GT(estimate_memory(both, {.layers = {0, 4}, .context = 64}).compute,
            estimate_memory(profile_, {.layers = {0, 4}, .context = 64}).compute);
}

}  // namespace
}  // namespace gogrid

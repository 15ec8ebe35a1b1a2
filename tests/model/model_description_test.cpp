// What is told of a file, whether or not it can run.
#include "model/model_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>

#include "support/gguf_builder.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TinyModel;
using testing::TinyWeights;

ModelDescription describe(const GgufBuilder& builder) {
  const std::string bytes = builder.build();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "some.gguf");
  if (!file) throw std::runtime_error(file.error().message);
  return describe_model(*file);
}

ModelDescription describe(const TinyModel& model) {
  const testing::TemporaryFolder folder;
  write_tiny_model(folder / "tiny.gguf", model);
  return describe_model(*GgufFile::open(folder / "tiny.gguf"));
}

TEST(ModelDescription, TellsWhatATextModelIs) {
  const TinyModel tiny{.architecture = "qwen3moe", .n_layers = 3, .weights = TinyWeights::kQ8_0};
  const ModelDescription model = describe(tiny);
  EXPECT_EQ(model.architecture, "qwen3moe");
  EXPECT_EQ(model.name, "Tiny random model");
  EXPECT_EQ(model.license, "cc0-1.0");
  EXPECT_EQ(model.quantization, "q8_0");
  EXPECT_EQ(model.gguf_version, 3U);
  EXPECT_EQ(model.layers, 3U);
  EXPECT_EQ(model.context, tiny.context);
  EXPECT_EQ(model.embedding_length, tiny.n_embd);
  EXPECT_EQ(model.heads->most, tiny.n_heads);
  EXPECT_EQ(model.kv_heads->least, tiny.n_kv_heads);
  EXPECT_EQ(model.experts, 4U);
  EXPECT_EQ(model.experts_used->most, 2U);
  EXPECT_EQ(model.vocabulary, tiny_vocabulary_size(tiny));
  EXPECT_EQ(model.vocabulary_type, "gpt2");
  EXPECT_EQ(model.vocabulary_splitter, "gpt-2");
  EXPECT_GT(model.template_bytes, 0U);
  ASSERT_TRUE(model.profile);
  EXPECT_THAT(model.profile->allowed_cuts, ElementsAre(1, 2));
}

TEST(ModelDescription, CountsParametersAndBitsByType) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "clip");
  builder.floats("norm", {32});
  builder.tensor({"a", {64, 2}, GgufBuilder::kTensorQ4_0, std::string(4 * 18, 'x'), {}, {}});
  builder.tensor({"b", {32}, GgufBuilder::kTensorQ8_0, std::string(34, 'x'), {}, {}});
  const ModelDescription model = describe(builder);
  EXPECT_EQ(model.parameters, 32U + 128 + 32);
  EXPECT_EQ(model.tensor_bytes, 128U + 72 + 34);
  EXPECT_DOUBLE_EQ(model.bits_per_weight, 8.0 * (128 + 72 + 34) / (32 + 128 + 32));
  ASSERT_EQ(model.types.size(), 3U);
  EXPECT_EQ(model.types[0].type, "f32");
  EXPECT_EQ(model.types[1].type, "q4_0");
  EXPECT_EQ(model.types[1].tensors, 1U);
  EXPECT_EQ(model.types[1].parameters, 128U);
  EXPECT_EQ(model.types[1].bytes, 72U);
  EXPECT_EQ(model.quantization, "q4_0");
}

TEST(ModelDescription, AlsoTellsOfWhatCannotRunAndWhyNot) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "clip").floats("norm", {32});
  const ModelDescription model = describe(builder);
  EXPECT_EQ(model.architecture, "clip");
  ASSERT_FALSE(model.profile);
  EXPECT_EQ(model.profile.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(model.profile.error().message, HasSubstr("clip"));
  EXPECT_EQ(model.quantization, "unknown");
  EXPECT_FALSE(model.layers);
  EXPECT_FALSE(model.heads);
}

TEST(ModelDescription, HasNoWeightsToCountInAFileOfNone) {
  const ModelDescription model = describe(GgufBuilder().key_u32("x", 1));
  EXPECT_EQ(model.parameters, 0U);
  EXPECT_EQ(model.bits_per_weight, 0.0);
  EXPECT_TRUE(model.types.empty());
  EXPECT_EQ(model.architecture, "");
}

TEST(ModelDescription, TellsHowFarLayersDiffer) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "lfm2");
  builder.key("lfm2.attention.head_count_kv", GgufBuilder::kArray,
              GgufBuilder::array_of<std::int32_t>(GgufBuilder::kI32, {0, 0, 8}));
  builder.key("lfm2.attention.head_count", GgufBuilder::kArray,
              GgufBuilder::array_of<std::int32_t>(GgufBuilder::kI32, {-1, 4, 8}));
  const ModelDescription model = describe(builder);
  EXPECT_EQ(model.kv_heads->least, 0U);
  EXPECT_EQ(model.kv_heads->most, 8U);
  EXPECT_FALSE(model.heads);  // a number below nothing is none
}

TEST(ModelDescription, KnowsAPartOfSeveral) {
  GgufBuilder builder;
  builder.key("split.no", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{1}));
  builder.key("split.count", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{3}));
  const ModelDescription model = describe(builder);
  EXPECT_EQ(model.part.number, 2U);
  EXPECT_EQ(model.part.count, 3U);
  ASSERT_FALSE(model.profile);
  EXPECT_EQ(model.profile.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(model.profile.error().message, HasSubstr("part 2 of 3"));
  EXPECT_THAT(model.profile.error().message, HasSubstr("llama-gguf-split --merge"));
}

TEST(ShownText, IsOnOneLineShortAndNeverEndsInsideACharacter) {
  EXPECT_EQ(shown_text("plain"), "plain");
  EXPECT_EQ(shown_text("a\n\x1b[31mb\x7f"), "a  [31mb ");
  EXPECT_EQ(shown_text("12345", 5), "12345");
  EXPECT_EQ(shown_text("123456", 5), "12345...");
  EXPECT_EQ(shown_text("1234\xC3\xA9", 5), "1234...");
  EXPECT_EQ(shown_text("123\xC3\xA9", 5), "123\xC3\xA9");
  EXPECT_EQ(shown_text("1\xF0", 5), "1?");  // a character that is not all there
}

}  // namespace
}  // namespace gogrid

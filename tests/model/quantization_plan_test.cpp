#include "model/quantization_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/files.h"
#include "support/gguf_builder.h"
#include "support/quantized.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::importance_of;
using testing::quantize_to;
using testing::TinyModel;
using testing::TinyWeights;

class QuantizationPlanning : public testing::QuantizableModels {
 protected:
  Error refusal(const GgufFile& file, const QuantizeOptions& options) {
    auto plan = plan_quantization(file, options);
    if (plan) return {ErrorCode::kInternal, "not refused", {}, {}};
    return std::move(plan).error();
  }
};

TEST_F(QuantizationPlanning, PlansWithoutWritingAndKnowsTheSize) {
  const auto plan = plan_quantization(model(), quantize_to("q8_0"));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "made.gguf"));
  EXPECT_LT(plan->after(), plan->before());
  EXPECT_NEAR(plan->bits_per_weight(), 8.5, 0.3);
  EXPECT_EQ(plan->fallbacks, 0U);
}

TEST_F(QuantizationPlanning, CountsRowsThatDoNotFitABlock) {
  testing::write_tiny_model(folder_ / "narrow.gguf", {.n_embd = 96, .weights = TinyWeights::kF16});
  const GgufFile narrow = open("narrow.gguf");
  const auto plan = plan_quantization(narrow, quantize_to("q4_k_s"));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GT(plan->fallbacks, 0U);
}

TEST_F(QuantizationPlanning, RefusesAPatternThatIsInNoName) {
  QuantizeOptions options = quantize_to("q4_0");
  options.overrides = {parse_tensor_override("attn_w=q8_0").value()};
  EXPECT_THAT(refusal(model(), options).message, AllOf(HasSubstr("attn_w"), HasSubstr("none of")));
  options.mix = find_mix("f16").value();
  EXPECT_THAT(refusal(model(), options).message, HasSubstr("--type f16"));
}

TEST_F(QuantizationPlanning, RefusesWeightsThatAreQuantizedAlreadyUnlessAllowed) {
  const GgufFile file = model({.weights = TinyWeights::kQ8_0});
  QuantizeOptions options = quantize_to("q4_0");
  const Error error = refusal(file, options);
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, AllOf(HasSubstr("q8_0 already"), HasSubstr("--allow-requantize")));
  options.allow_requantize = true;
  EXPECT_TRUE(plan_quantization(file, options));
}

TEST_F(QuantizationPlanning, TakesMemoryForAFewRowsOfEachThreadWhateverTheModelsSize) {
  const GgufFile file = model();
  QuantizeOptions options = quantize_to("q4_k_m");
  options.threads = 3;
  const auto plan = plan_quantization(file, options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->threads, 3U);
  EXPECT_GT(plan->buffer_bytes, 0U);
  EXPECT_LE(plan->buffer_bytes, 3 * kMiB);
}

TEST_F(QuantizationPlanning, AsksForAnImportanceMatrixBeforeItBegins) {
  const GgufFile file = model();
  QuantizeOptions options = quantize_to("iq2_xxs");
  EXPECT_THAT(refusal(file, options).message, HasSubstr("importance matrix"));
  options = quantize_to("q4_0");
  options.token_embedding_type = find_weight_type("iq1_s").value();
  EXPECT_THAT(refusal(file, options).message,
              AllOf(HasSubstr("token_embd.weight"), HasSubstr("importance matrix")));
  options = quantize_to("q2_k_s");
  EXPECT_THAT(refusal(file, options).message, HasSubstr("importance matrix"));
  ImportanceMatrix importance = importance_of(file);
  importance.entries.erase("blk.2.ffn_up.weight");
  options = quantize_to("iq2_xxs");
  options.importance = &importance;
  EXPECT_THAT(refusal(file, options).message,
              AllOf(HasSubstr("blk.2.ffn_up.weight"), HasSubstr("nothing on it")));
}

TEST_F(QuantizationPlanning, RefusesAnImportanceMatrixOfAnotherModel) {
  const GgufFile file = model();
  ImportanceMatrix importance = importance_of(file);
  importance.entries.at("blk.3.attn_q.weight").sums.resize(128);
  QuantizeOptions options = quantize_to("q4_k_m");
  options.importance = &importance;
  EXPECT_THAT(refusal(file, options).message,
              AllOf(HasSubstr("blk.3.attn_q.weight"), HasSubstr("256"), HasSubstr("128")));
}

// Types that files may have, and that nothing reads as floats.
TEST_F(QuantizationPlanning, RefusesWeightsThatAreNoFloats) {
  const GgufFile file = model();
  std::string bytes = read_file(folder_ / "model.gguf", 64 * kMiB).value();
  // The entry in the table: name, two dimensions, type. f16 becomes i16, which is as long.
  const std::string name = "blk.1.ffn_up.weight";
  const std::size_t type = bytes.find(name) + name.size() + 4 + 2 * 8;
  bytes[type] = 25;
  ASSERT_TRUE(write_file(folder_ / "whole.gguf", bytes));
  const GgufFile whole = open("whole.gguf");
  ASSERT_EQ(whole.tensor(name)->type_name, "i16");
  const Error error = refusal(whole, quantize_to("q4_0"));
  EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
  EXPECT_THAT(error.message, AllOf(HasSubstr(name), HasSubstr("i16")));
}

TEST_F(QuantizationPlanning, RefusesNamedTypesThatRowsDoNotFit) {
  testing::write_tiny_model(folder_ / "narrow.gguf",
                            {.n_embd = 96, .tied = true, .weights = TinyWeights::kF16});
  const GgufFile narrow = open("narrow.gguf");
  QuantizeOptions options = quantize_to("q8_0");
  options.token_embedding_type = find_weight_type("q4_k").value();
  EXPECT_THAT(refusal(narrow, options).message,
              AllOf(HasSubstr("--token-embedding-type"), HasSubstr("256"), HasSubstr("96")));
  options.token_embedding_type.reset();
  options.output_type = find_weight_type("q4_k").value();
  EXPECT_THAT(refusal(narrow, options).message, HasSubstr("--output-type")) << "tied";
}

TEST_F(QuantizationPlanning, NamesWhatLibllamaCannotWrite) {
  testing::write_tiny_model(folder_ / "narrow.gguf", {.n_embd = 96, .weights = TinyWeights::kF16});
  const GgufFile narrow = open("narrow.gguf");
  const Error error = refusal(narrow, quantize_to("q1_0"));
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("q1_0"));
}

TEST_F(QuantizationPlanning, RefusesAnotherAlignmentAndParts) {
  GgufBuilder file;
  file.alignment = 64;
  file.key_text("general.architecture", "llama").key_u32("general.alignment", 64);
  file.floats("a.weight", {32, 4});
  ASSERT_TRUE(write_file(folder_ / "aligned.gguf", file.build()));
  EXPECT_THAT(refusal(open("aligned.gguf"), quantize_to("q8_0")).message,
              HasSubstr("alignment of 32"));
  GgufBuilder part;
  part.key_text("general.architecture", "llama").key_u32("split.count", 2);
  part.floats("a.weight", {32, 4});
  const std::string bytes = part.build();
  const auto alone = GgufFile::parse(std::as_bytes(std::span(bytes)), "part.gguf");
  ASSERT_TRUE(alone);
  EXPECT_THAT(refusal(*alone, quantize_to("q8_0")).message, HasSubstr("one part of several"));
}

TEST(TensorOfLine, IsItsNameAndNothingElse) {
  EXPECT_EQ(tensor_of_line("[   1/ 272] output_norm.weight      - [   576, 1, 1, 1], type = f32"),
            "output_norm.weight");
  for (const char* line : {"", "[", "llama_model_loader: - type  f32:   61 tensors", "[1/2 - [",
                           "warning: x - [1]", "] x - ["})
    EXPECT_FALSE(tensor_of_line(line)) << line;
}

}  // namespace
}  // namespace gogrid

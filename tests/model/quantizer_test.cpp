#include "model/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/files.h"
#include "model/model_profile.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

QuantizeOptions to(std::string_view mix) { return {.mix = find_mix(mix).value()}; }

class QuantizerTest : public ::testing::Test {
 protected:
  // Rows of 256 and 512, which every type's blocks divide.
  GgufFile model(TinyModel tiny = {}) {
    tiny.n_embd = 256;
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
  Status quantize(const GgufFile& file, const QuantizeOptions& options,
                  const TensorProgress& progress = {}) {
    const auto plan = plan_quantization(file, options);
    if (!plan) return std::unexpected(plan.error());
    return quantize_model(file, folder_ / "made.gguf", options, *plan, progress);
  }
  Error refusal(const GgufFile& file, const QuantizeOptions& options) {
    auto plan = plan_quantization(file, options);
    if (plan) return {ErrorCode::kInternal, "not refused", {}, {}};
    return std::move(plan).error();
  }
  // Ones for every matrix of the layers.
  static ImportanceMatrix importance_of(const GgufFile& file) {
    ImportanceMatrix matrix;
    for (const GgufTensor& tensor : file.tensors()) {
      if (tensor.n_dims < 2 || !tensor.name.starts_with("blk.")) continue;
      const std::size_t experts = tensor.shape[2];
      matrix.entries[std::string(tensor.name)] = {
          .sums = std::vector<float>(tensor.shape[0] * experts, 2.0F),
          .counts = std::vector<float>(experts, 2.0F)};
    }
    matrix.datasets = {"a text"};
    matrix.chunks = 7;
    return matrix;
  }
  static std::string type_in(const GgufFile& file, std::string_view name) {
    const GgufTensor* tensor = file.tensor(name);
    return tensor == nullptr ? "absent" : std::string(tensor->type_name);
  }

  TemporaryFolder folder_;
};

TEST_F(QuantizerTest, WritesEveryTypeAsPlannedAndAModelThatIsOne) {
  const GgufFile file = model({.n_layers = 1, .n_kv_heads = 1});
  const ImportanceMatrix importance = importance_of(file);
  for (const std::string& mix : mix_names()) {
    QuantizeOptions options = to(mix);
    options.importance = &importance;
    options.threads = 2;
    const auto plan = plan_quantization(file, options);
    ASSERT_TRUE(plan) << mix << ": " << plan.error().message;
    std::size_t told = 0;
    const auto done =
        quantize_model(file, folder_ / "made.gguf", options, *plan, [&](std::size_t count) {
          EXPECT_EQ(count, told + 1);
          told = count;
        });
    ASSERT_TRUE(done) << mix << ": " << done.error().message;
    EXPECT_EQ(told, file.tensors().size()) << mix;
    const GgufFile made = open("made.gguf");
    EXPECT_LE(made.file_size(), plan->file_bytes) << mix;
    EXPECT_GT(made.file_size() + kMiB, plan->file_bytes) << mix;
    EXPECT_TRUE(read_profile(made)) << mix;
  }
}

TEST_F(QuantizerTest, PlansWithoutWritingAndKnowsTheSize) {
  const auto plan = plan_quantization(model(), to("q8_0"));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "made.gguf"));
  EXPECT_LT(plan->after(), plan->before());
  EXPECT_NEAR(plan->bits_per_weight(), 8.5, 0.3);
  EXPECT_EQ(plan->fallbacks, 0U);
}

TEST_F(QuantizerTest, CountsRowsThatDoNotFitABlock) {
  testing::write_tiny_model(folder_ / "narrow.gguf", {.n_embd = 96, .weights = TinyWeights::kF16});
  const GgufFile narrow = open("narrow.gguf");
  const auto plan = plan_quantization(narrow, to("q4_k_s"));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GT(plan->fallbacks, 0U);
}

TEST_F(QuantizerTest, TakesTheFirstOverrideThatFits) {
  const GgufFile file = model();
  QuantizeOptions options = to("q4_0");
  for (const char* text : {"blk\\.1\\.attn_v=f16", "attn_v=q8_0"})
    options.overrides.push_back(parse_tensor_override(text).value());
  options.token_embedding_type = find_weight_type("q5_1").value();
  options.output_type = find_weight_type("bf16").value();
  const auto done = quantize(file, options);
  ASSERT_TRUE(done) << done.error().message;
  const GgufFile made = open("made.gguf");
  EXPECT_EQ(type_in(made, "blk.0.attn_v.weight"), "q8_0");
  EXPECT_EQ(type_in(made, "blk.1.attn_v.weight"), "f16");
  EXPECT_EQ(type_in(made, "blk.0.attn_k.weight"), "q4_0");
  EXPECT_EQ(type_in(made, "token_embd.weight"), "q5_1");
  EXPECT_EQ(type_in(made, "output.weight"), "bf16");
}

TEST_F(QuantizerTest, RefusesAPatternThatIsInNoName) {
  QuantizeOptions options = to("q4_0");
  options.overrides = {parse_tensor_override("attn_w=q8_0").value()};
  EXPECT_THAT(refusal(model(), options).message, AllOf(HasSubstr("attn_w"), HasSubstr("none of")));
  options.mix = find_mix("f16").value();
  EXPECT_THAT(refusal(model(), options).message, HasSubstr("--type f16"));
}

TEST_F(QuantizerTest, RefusesWeightsThatAreQuantizedAlreadyUnlessAllowed) {
  const GgufFile file = model({.weights = TinyWeights::kQ8_0});
  QuantizeOptions options = to("q4_0");
  const Error error = refusal(file, options);
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, AllOf(HasSubstr("q8_0 already"), HasSubstr("--allow-requantize")));
  options.allow_requantize = true;
  EXPECT_TRUE(quantize(file, options));
}

// libllama would end the process here, or come to it after an hour.
TEST_F(QuantizerTest, AsksForAnImportanceMatrixBeforeItBegins) {
  const GgufFile file = model();
  QuantizeOptions options = to("iq2_xxs");
  EXPECT_THAT(refusal(file, options).message, HasSubstr("importance matrix"));
  options = to("q4_0");
  options.token_embedding_type = find_weight_type("iq1_s").value();
  EXPECT_THAT(refusal(file, options).message,
              AllOf(HasSubstr("token_embd.weight"), HasSubstr("importance matrix")));
  options = to("q2_k_s");
  EXPECT_THAT(refusal(file, options).message, HasSubstr("importance matrix"));
  ImportanceMatrix importance = importance_of(file);
  importance.entries.erase("blk.2.ffn_up.weight");
  options = to("iq2_xxs");
  options.importance = &importance;
  EXPECT_THAT(refusal(file, options).message,
              AllOf(HasSubstr("blk.2.ffn_up.weight"), HasSubstr("nothing on it")));
}

TEST_F(QuantizerTest, RefusesAnImportanceMatrixOfAnotherModel) {
  const GgufFile file = model();
  ImportanceMatrix importance = importance_of(file);
  importance.entries.at("blk.3.attn_q.weight").sums.resize(128);
  QuantizeOptions options = to("q4_k_m");
  options.importance = &importance;
  EXPECT_THAT(refusal(file, options).message,
              AllOf(HasSubstr("blk.3.attn_q.weight"), HasSubstr("256"), HasSubstr("128")));
}

TEST_F(QuantizerTest, WritesDownWhichImportanceMatrixItUsed) {
  const GgufFile file = model();
  const ImportanceMatrix importance = importance_of(file);
  QuantizeOptions options = to("q4_k_m");
  options.importance = &importance;
  options.importance_name = "m.imatrix";
  ASSERT_TRUE(quantize(file, options));
  const GgufFile made = open("made.gguf");
  EXPECT_EQ(made.string_of("quantize.imatrix.file"), "m.imatrix");
  EXPECT_EQ(made.string_of("quantize.imatrix.dataset"), "a text");
  EXPECT_EQ(made.unsigned_of("quantize.imatrix.entries_count"), importance.entries.size());
  EXPECT_EQ(made.unsigned_of("quantize.imatrix.chunks_count"), 7U);
}

TEST_F(QuantizerTest, UsesTheImportanceOfEachExpert) {
  const GgufFile file = model({.n_experts = 4});
  ImportanceMatrix importance = importance_of(file);
  QuantizeOptions options = to("q2_k");
  options.importance = &importance;
  ASSERT_TRUE(quantize(file, options));
  const auto even = read_head(folder_ / "made.gguf", 16 * kMiB).value();
  // Only the second expert's first columns matter.
  auto& sums = importance.entries.at("blk.0.ffn_up_exps.weight").sums;
  std::fill_n(sums.begin() + 256, 64, 1e6F);
  ASSERT_TRUE(quantize(file, options));
  const auto uneven = read_head(folder_ / "made.gguf", 16 * kMiB).value();
  const GgufTensor tensor = *open("made.gguf").tensor("blk.0.ffn_up_exps.weight");
  const auto expert = [&](const std::string& bytes, std::size_t i) {
    return bytes.substr(tensor.offset + i * tensor.size / 4, tensor.size / 4);
  };
  EXPECT_EQ(expert(even, 0), expert(uneven, 0));
  EXPECT_NE(expert(even, 1), expert(uneven, 1));
}

TEST_F(QuantizerTest, RefusesNamedTypesThatRowsDoNotFit) {
  testing::write_tiny_model(folder_ / "narrow.gguf",
                            {.n_embd = 96, .tied = true, .weights = TinyWeights::kF16});
  const GgufFile narrow = open("narrow.gguf");
  QuantizeOptions options = to("q8_0");
  options.token_embedding_type = find_weight_type("q4_k").value();
  EXPECT_THAT(refusal(narrow, options).message,
              AllOf(HasSubstr("--token-embedding-type"), HasSubstr("256"), HasSubstr("96")));
  options.token_embedding_type.reset();
  options.output_type = find_weight_type("q4_k").value();
  EXPECT_THAT(refusal(narrow, options).message, HasSubstr("--output-type")) << "tied";
}

TEST_F(QuantizerTest, NamesWhatLibllamaCannotWrite) {
  testing::write_tiny_model(folder_ / "narrow.gguf", {.n_embd = 96, .weights = TinyWeights::kF16});
  const GgufFile narrow = open("narrow.gguf");
  const Error error = refusal(narrow, to("q1_0"));
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("q1_0"));
}

TEST_F(QuantizerTest, RefusesAnotherAlignmentAndParts) {
  GgufBuilder file;
  file.alignment = 64;
  file.key_text("general.architecture", "llama").key_u32("general.alignment", 64);
  file.floats("a.weight", {32, 4});
  ASSERT_TRUE(write_file(folder_ / "aligned.gguf", file.build()));
  EXPECT_THAT(refusal(open("aligned.gguf"), to("q8_0")).message, HasSubstr("alignment of 32"));
  GgufBuilder part;
  part.key_text("general.architecture", "llama").key_u32("split.count", 2);
  part.floats("a.weight", {32, 4});
  const std::string bytes = part.build();
  const auto alone = GgufFile::parse(std::as_bytes(std::span(bytes)), "part.gguf");
  ASSERT_TRUE(alone);
  EXPECT_THAT(refusal(*alone, to("q8_0")).message, HasSubstr("one part of several"));
}

TEST_F(QuantizerTest, ASmallBufferGivesTheSameBytes) {
  const GgufFile file = model();
  QuantizeOptions options = to("q4_k_m");
  ASSERT_TRUE(quantize(file, options));
  const auto whole = read_head(folder_ / "made.gguf", 64 * kMiB).value();
  options.max_buffer = 64 * kKiB;
  EXPECT_LE(plan_quantization(file, options)->buffer_bytes, 64 * kKiB);
  ASSERT_TRUE(quantize(file, options));
  EXPECT_EQ(read_head(folder_ / "made.gguf", 64 * kMiB).value(), whole);
}

TEST_F(QuantizerTest, SaysWhereItCannotWrite) {
  const GgufFile file = model();
  const QuantizeOptions options = to("q8_0");
  const auto plan = plan_quantization(file, options).value();
  const auto done = quantize_model(file, folder_ / "no/such/folder.gguf", options, plan, {});
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("no/such/folder.gguf"));
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

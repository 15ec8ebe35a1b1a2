#include "model/quantization_types.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <vector>

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

TEST(QuantizationTypes, NameEveryMixThatLlamaQuantizeDoes) {
  EXPECT_THAT(
      mix_names(),
      IsSupersetOf({"q1_0",    "q2_0",   "q4_0",   "q4_1",    "mxfp4_moe", "q5_0",   "q5_1",
                    "iq2_xxs", "iq2_xs", "iq2_s",  "iq2_m",   "iq1_s",     "iq1_m",  "tq1_0",
                    "tq2_0",   "q2_k",   "q2_k_s", "iq3_xxs", "iq3_s",     "iq3_m",  "iq3_xs",
                    "q3_k_s",  "q3_k_m", "q3_k_l", "iq4_nl",  "iq4_xs",    "q4_k_s", "q4_k_m",
                    "q5_k_s",  "q5_k_m", "q6_k",   "q8_0",    "f16",       "bf16",   "f32"}));
}

TEST(QuantizationTypes, AreFoundInAnyCaseAndByTheirShortNames) {
  for (const std::string& name : mix_names()) EXPECT_EQ(find_mix(name)->name, name);
  EXPECT_EQ(find_mix("Q4_K_M")->file_type, LLAMA_FTYPE_MOSTLY_Q4_K_M);
  EXPECT_EQ(find_mix("q3_k")->name, "q3_k_m");
  EXPECT_EQ(find_mix("Q4_K")->name, "q4_k_m");
  EXPECT_EQ(find_mix("q5_K")->name, "q5_k_m");
  EXPECT_EQ(find_weight_type("Q4_k")->type, std::uint32_t{GGML_TYPE_Q4_K});
}

// Numbers that libllama does not know any more, or never did, would be written without a word.
TEST(QuantizationTypes, AreKnownToLibllamaByNumber) {
  for (const std::string& name : mix_names()) {
    const std::string theirs =
        llama_ftype_name(static_cast<llama_ftype>(find_mix(name)->file_type));
    EXPECT_THAT(theirs, Not(HasSubstr("unknown"))) << name;
  }
}

TEST(QuantizationTypes, AnswerAWrongNameWithTheNearest) {
  const auto mix = find_mix("q4_m_k");
  ASSERT_FALSE(mix);
  EXPECT_EQ(mix.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(mix.error().message, HasSubstr("did you mean q4_k_m"));
  EXPECT_THAT(find_weight_type("q4_k_m").error().message, HasSubstr("q4_k"));
  EXPECT_THAT(find_weight_type("").error().message, HasSubstr("known: "));
  EXPECT_FALSE(find_weight_type("q8_1")) << "for computing only";
  EXPECT_FALSE(find_weight_type("i32"));
}

// What is not in the list ends the process here, as it would in the middle of a model.
TEST(QuantizationTypes, OfWeightsCanAllBeWritten) {
  constexpr std::int64_t kRow = 1024;
  std::vector<float> weights(kRow);
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>(i % 17) / 8.0F - 1.0F;
  const std::vector<float> importance(kRow, 1.0F);
  for (const std::string& name : weight_type_names()) {
    const WeightType type = find_weight_type(name).value();
    ASSERT_EQ(kRow % type.block, 0) << name;
    const auto ggml = static_cast<ggml_type>(type.type);
    std::vector<std::byte> row(ggml_row_size(ggml, kRow));
    EXPECT_EQ(ggml_quantize_chunk(ggml, weights.data(), row.data(), 0, 1, kRow, importance.data()),
              row.size())
        << name;
    EXPECT_TRUE(ggml_validate_row_data(ggml, row.data(), row.size())) << name;
  }
}

}  // namespace
}  // namespace gogrid

// Predicted sizes against those of the files that libllama's own quantizer writes.
#include "model/quantized_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "device/device_registry.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

struct Type {
  const char* name;
  llama_ftype number;
};
constexpr auto kTypes = std::to_array<Type>({{"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
                                             {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},
                                             {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
                                             {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M},
                                             {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S},
                                             {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
                                             {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
                                             {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M},
                                             {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S},
                                             {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL},
                                             {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
                                             {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},
                                             {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L},
                                             {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M},
                                             {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S},
                                             {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K}});

struct Opened {
  GgufFile file;
  ModelProfile profile;
};

Opened open(const std::filesystem::path& path) {
  auto file = GgufFile::open(path);
  if (!file) throw std::runtime_error(file.error().message);
  auto profile = read_profile(*file);
  if (!profile) throw std::runtime_error(profile.error().message);
  return {*std::move(file), *std::move(profile)};
}

Bytes sum(const std::vector<Bytes>& values) {
  Bytes total = 0;
  for (const Bytes value : values) total += value;
  return total;
}

void expect_near(Bytes predicted, Bytes written, const std::string& what) {
  const auto real = static_cast<double>(written);
  EXPECT_NEAR(static_cast<double>(predicted), real, 0.1 * real) << what;
}

// Of the types `named`, or of all.
void expect_sizes_as_written(const std::string& architecture,
                             const std::vector<std::string>& named = {}) {
  initialize_backends();
  const TemporaryFolder folder;
  const std::filesystem::path source = folder / "f16.gguf";
  testing::write_tiny_model(source, {.architecture = architecture,
                                     .n_layers = 8,
                                     .n_embd = 256,
                                     .n_heads = 8,
                                     .n_kv_heads = architecture == "phi2" ? 8U : 2U,
                                     .n_ff = 256,
                                     .weights = TinyWeights::kF16});
  const Opened whole = open(source);
  const auto predicted = smaller_quantizations(whole.file, whole.profile);
  for (const Type& type : kTypes) {
    if (!named.empty() && !std::ranges::contains(named, type.name)) continue;
    SCOPED_TRACE(architecture + " as " + type.name);
    const auto found = std::ranges::find(predicted, type.name, &QuantizedModel::type);
    ASSERT_NE(found, predicted.end());
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = type.number;
    params.nthread = 1;
    const std::filesystem::path target = folder / "quantized.gguf";
    ASSERT_EQ(llama_model_quantize(source.c_str(), target.c_str(), &params), 0U);
    const Opened written = open(target);
    expect_near(found->bytes, written.file.file_size(), "file");
    expect_near(sum(found->profile.layer_weights), sum(written.profile.layer_weights), "layers");
    expect_near(found->profile.head_bytes, written.profile.head_bytes, "head");
    EXPECT_EQ(found->profile.other_bytes, written.profile.other_bytes);
  }
}

TEST(QuantizedSize, IsWithinATenthOfWhatLibllamaWritesInEveryType) {
  expect_sizes_as_written("llama");
}

TEST(QuantizedSize, IsSoForExpertsTiedHeadsAndFusedMatrices) {
  for (const char* architecture : {"qwen2moe", "gemma3", "phi2", "phi3"}) {
    expect_sizes_as_written(architecture, {"q8_0", "q4_k_m", "q3_k_m"});
  }
}

TEST(QuantizedSizes, AreTheSmallerOnesTheLargestFirst) {
  const TemporaryFolder folder;
  testing::write_tiny_model(folder / "q8.gguf",
                            {.n_embd = 256, .n_ff = 512, .weights = TinyWeights::kQ8_0});
  const Opened model = open(folder / "q8.gguf");
  const auto sizes = smaller_quantizations(model.file, model.profile);
  ASSERT_FALSE(sizes.empty());
  EXPECT_LT(sizes.front().bytes, model.file.file_size());
  EXPECT_TRUE(std::ranges::is_sorted(sizes, std::ranges::greater{}, &QuantizedModel::bytes));
  EXPECT_EQ(std::ranges::find(sizes, "q8_0", &QuantizedModel::type), sizes.end());
  EXPECT_EQ(std::ranges::find(sizes, "f16", &QuantizedModel::type), sizes.end());
}

TEST(QuantizedSizes, HaveTheLossThatWasPublishedWithItsSourceOrNone) {
  const TemporaryFolder folder;
  testing::write_tiny_model(folder / "f32.gguf", {.n_embd = 256});
  const Opened model = open(folder / "f32.gguf");
  const auto sizes = smaller_quantizations(model.file, model.profile);
  const auto loss_of = [&](const char* type) {
    return std::ranges::find(sizes, type, &QuantizedModel::type)->loss;
  };
  ASSERT_TRUE(loss_of("q4_k_m"));
  EXPECT_DOUBLE_EQ(loss_of("q4_k_m")->added_perplexity, 0.1754);
  EXPECT_EQ(loss_of("q4_k_m")->model, "Llama 3 8B");
  EXPECT_FALSE(loss_of("q4_k_m")->source.empty());
  EXPECT_FALSE(loss_of("iq4_xs"));
}

}  // namespace
}  // namespace gogrid

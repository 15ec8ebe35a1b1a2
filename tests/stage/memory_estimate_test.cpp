// What the estimator says before anything is allocated, against what libllama reports after.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/gguf_file.h"
#include "model/memory_estimator.h"
#include "support/stage_harness.h"

namespace gogrid {
namespace {

using testing::Chain;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

// libllama reports hundredths of a mebibyte, one line a buffer.
constexpr double kRounding = 0.1 * static_cast<double>(kMiB);

void expect_near(Bytes estimate, Bytes measured, const char* what) {
  EXPECT_NEAR(static_cast<double>(estimate), static_cast<double>(measured),
              0.1 * static_cast<double>(measured) + kRounding)
      << what << ": estimated " << format_bytes(estimate) << ", libllama took "
      << format_bytes(measured);
}

void expect_estimates(const std::filesystem::path& path, const Chain::Options& options) {
  const TemporaryFolder scratch;
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file);
  const auto profile = read_profile(*file);
  ASSERT_TRUE(profile) << profile.error().message;
  Chain::Options scaled = options;
  scaled.embedding_scale = profile->embedding_scale;
  auto chain = Chain::make(path, scratch, scaled);
  ASSERT_TRUE(chain) << chain.error().message;
  std::vector<std::uint32_t> bounds = options.cuts;
  bounds.insert(bounds.begin(), 0);
  bounds.push_back(profile->n_layers);
  for (std::size_t i = 0; i < chain->size(); ++i) {
    const StageMemory estimate =
        estimate_memory(*profile, {.layers = {bounds[i], bounds[i + 1]},
                                   .context = options.context,
                                   .parallel = options.parallel,
                                   .kv_cells = options.kv_cells,
                                   .max_step_rows = options.max_step_rows,
                                   .flash_attention = !options.deterministic});
    const StageMemory measured = chain->stage(i).memory();
    SCOPED_TRACE(path.filename().string() + " layers " + std::to_string(bounds[i]) + "-" +
                 std::to_string(bounds[i + 1]) + (options.deterministic ? " deterministic" : ""));
    expect_near(estimate.weights, measured.weights, "weights");
    expect_near(estimate.kv, measured.kv, "KV cache");
    expect_near(estimate.compute, measured.compute, "compute buffers");
    expect_near(estimate.total(), measured.total(), "all");
  }
}

// Enough that half of them is a piece of the architecture's pattern.
std::uint32_t layers_of(const std::string& architecture) {
  if (architecture == "gemma3") return 12;
  return architecture == "lfm2" ? 8 : 2;
}

TinyModel sizeable(const std::string& architecture) {
  TinyModel model{.architecture = architecture,
                  .n_layers = layers_of(architecture),
                  .n_embd = 512,
                  .n_heads = 8,
                  .n_kv_heads = 4,
                  .n_ff = 1536,
                  .context = 4096,
                  .weights = TinyWeights::kF16};
  if (architecture == "phi2") model.n_kv_heads = model.n_heads;
  return model;
}

class MemoryEstimate : public ::testing::TestWithParam<std::string> {};

TEST_P(MemoryEstimate, IsWithinATenthOfWhatTheBackendTakes) {
  const TemporaryFolder folder;
  const TinyModel model = sizeable(GetParam());
  write_tiny_model(folder / "tiny.gguf", model);
  Chain::Options options;
  options.context = 2048;
  options.parallel = 2;
  options.max_step_rows = 512;
  expect_estimates(folder / "tiny.gguf", options);
  options.cuts = {model.n_layers / 2};
  options.max_step_rows = 128;
  options.deterministic = true;
  expect_estimates(folder / "tiny.gguf", options);
}

INSTANTIATE_TEST_SUITE_P(Architectures, MemoryEstimate,
                         ::testing::Values("llama", "qwen2", "qwen3", "gemma3", "phi2", "phi3",
                                           "qwen2moe", "qwen3moe", "lfm2"),
                         [](const auto& instance) { return instance.param; });

TEST(MemoryEstimateOfWeights, HoldsForEveryType) {
  const TemporaryFolder folder;
  for (const TinyWeights weights : {TinyWeights::kF32, TinyWeights::kQ8_0, TinyWeights::kQ4_0,
                                    TinyWeights::kQ4_1, TinyWeights::kQ4_K}) {
    TinyModel model = sizeable("llama");
    model.weights = weights;
    write_tiny_model(folder / "tiny.gguf", model);
    Chain::Options options;
    options.cuts = {1};
    expect_estimates(folder / "tiny.gguf", options);
  }
}

TEST(MemoryEstimateOfKv, HoldsForOnePoolOfCells) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "tiny.gguf", sizeable("llama"));
  Chain::Options options;
  options.context = 1024;
  options.parallel = 8;
  options.kv_cells = 2048;
  expect_estimates(folder / "tiny.gguf", options);
}

// Many short sequences: the state is most of what they take.
TEST(MemoryEstimateOfState, HoldsForConvolutionsInRanges) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "tiny.gguf", sizeable("lfm2"));
  Chain::Options options;
  options.context = 256;
  options.parallel = 128;
  options.kv_cells = 256;
  options.max_step_rows = 128;
  expect_estimates(folder / "tiny.gguf", options);
  options.cuts = {3};
  expect_estimates(folder / "tiny.gguf", options);
}

TEST(MemoryEstimateOfState, HoldsForMambaBesideAttention) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "tiny.gguf", sizeable("plamo2"));
  Chain::Options options;
  options.context = 256;
  options.parallel = 128;
  options.kv_cells = 256;
  options.max_step_rows = 128;
  expect_estimates(folder / "tiny.gguf", options);
}

TEST(MemoryEstimateOfRealModel, IsWithinATenth) {
  const auto path = testing::real_model();
  if (path.empty()) GTEST_SKIP() << "GOGRID_TEST_MODEL names no SmolLM2-135M file";
  Chain::Options options;
  options.context = 4096;
  options.parallel = 4;
  options.max_step_rows = 512;
  expect_estimates(path, options);
  options.parallel = 1;
  options.deterministic = true;
  options.cuts = {10, 20};
  expect_estimates(path, options);
}

}  // namespace
}  // namespace gogrid

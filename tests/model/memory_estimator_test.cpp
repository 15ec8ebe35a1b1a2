#include "model/memory_estimator.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

ModelProfile four_layers() {
  ModelProfile profile;
  profile.n_layers = 4;
  profile.n_embd = 64;
  profile.n_vocab = 1024;
  profile.layer_weights = {1000, 2000, 3000, 4000};
  profile.kv_bytes_per_token = {10, 20, 30, 40};
  profile.token_embedding_bytes = 1024 * 100;
  profile.head_bytes = 1024 * 200;
  profile.other_bytes = 7;
  return profile;
}

TEST(MemoryEstimator, CountsTheWholeModelOnce) {
  EXPECT_EQ(estimate_memory(four_layers(), {.layers = {0, 4}}).weights,
            1000U + 2000 + 3000 + 4000 + 7 + 1024 * 300);
}

TEST(MemoryEstimator, KeepsAStubOfTheVocabularyInEveryRangeButTheLast) {
  EXPECT_EQ(estimate_memory(four_layers(), {.layers = {0, 2}}).weights, 3000U + 7 + 32 * 300);
  EXPECT_EQ(estimate_memory(four_layers(), {.layers = {2, 4}}).weights, 7000U + 7 + 1024 * 300);
}

TEST(MemoryEstimator, CountsATiedHeadOnce) {
  ModelProfile profile = four_layers();
  profile.tied_embeddings = true;
  profile.head_bytes = profile.token_embedding_bytes;
  EXPECT_EQ(estimate_memory(profile, {.layers = {2, 4}}).weights, 7000U + 7 + 1024 * 100);
}

TEST(MemoryEstimator, CountsTheCacheOfItsLayersForEachSequence) {
  EXPECT_EQ(estimate_memory(four_layers(), {.layers = {1, 3}, .context = 512, .parallel = 3}).kv,
            50U * 512 * 3);
}

TEST(MemoryEstimator, RoundsCellsUpAsTheLibraryDoes) {
  EXPECT_EQ(estimate_memory(four_layers(), {.layers = {0, 1}, .context = 257, .parallel = 2}).kv,
            10U * 512 * 2);
}

TEST(MemoryEstimator, CountsAPoolOfCellsOnce) {
  EXPECT_EQ(estimate_memory(four_layers(),
                            {.layers = {0, 1}, .context = 512, .parallel = 8, .kv_cells = 1024})
                .kv,
            10U * 1024);
}

TEST(MemoryEstimator, CountsTheStateOfItsLayersForEachSequenceEvenInAPool) {
  ModelProfile profile = four_layers();
  profile.state_bytes = {0, 5, 0, 6};
  const MemoryQuestion question{.layers = {1, 4}, .context = 512, .parallel = 8, .kv_cells = 1024};
  EXPECT_EQ(estimate_memory(profile, question).kv, 90U * 1024 + 11 * 8);
}

TEST(MemoryEstimator, NeverWrapsOnAHostileProfile) {
  ModelProfile profile = four_layers();
  profile.kv_bytes_per_token = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
  profile.state_bytes = profile.kv_bytes_per_token;
  profile.layer_weights = {UINT64_MAX, UINT64_MAX, 1, 1};
  profile.n_heads = profile.ffn_width = profile.kv_width = UINT32_MAX;
  const StageMemory memory = estimate_memory(profile, {.layers = {0, 4},
                                                       .context = UINT32_MAX,
                                                       .parallel = UINT32_MAX,
                                                       .max_step_rows = UINT32_MAX,
                                                       .flash_attention = false});
  EXPECT_GE(memory.total(), UINT64_MAX / 4 * 3);
}

}  // namespace
}  // namespace gogrid

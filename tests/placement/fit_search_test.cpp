#include "placement/fit_search.h"

#include <gtest/gtest.h>

#include "model/memory_estimator.h"

namespace gogrid {
namespace {

ModelProfile model(std::uint32_t layers) {
  ModelProfile profile;
  profile.n_layers = layers;
  profile.n_embd = 64;
  profile.n_vocab = 256;
  profile.layer_weights.assign(layers, kMiB);
  profile.kv_bytes_per_token.assign(layers, 1024);
  profile.token_embedding_bytes = profile.head_bytes = kMiB;
  for (std::uint32_t cut = 1; cut < layers; ++cut) profile.allowed_cuts.push_back(cut);
  return profile;
}

PlanQuestion asked(std::uint32_t context, std::uint32_t parallel) {
  return {.model = "toy", .context = context, .parallel = parallel};
}

Bytes need(const ModelProfile& profile, std::uint32_t context, std::uint32_t parallel) {
  return estimate_memory(
             profile, {.layers = {0, profile.n_layers}, .context = context, .parallel = parallel})
      .total();
}

TEST(FitSearch, FitsToTheByte) {
  const ModelProfile profile = model(4);
  const Bytes needed = need(profile, 1024, 2);
  const std::vector<DeviceBudget> enough{{.id = "a", .memory = needed}};
  const std::vector<DeviceBudget> less{{.id = "a", .memory = needed - 1}};
  EXPECT_TRUE(fits(profile, enough, asked(1024, 2)));
  EXPECT_FALSE(fits(profile, less, asked(1024, 2)));
}

TEST(FitSearch, FindsTheLargestThatFitsAndNotOneMore) {
  const ModelProfile profile = model(4);
  const std::vector<DeviceBudget> device{{.id = "a", .memory = need(profile, 3000, 3)}};
  const std::uint32_t context = largest_context(profile, device, asked(1, 3), 100'000);
  EXPECT_GE(context, 3000U);
  EXPECT_TRUE(fits(profile, device, asked(context, 3)));
  EXPECT_FALSE(fits(profile, device, asked(context + 1, 3)));
  const std::uint32_t parallel = largest_parallel(profile, device, asked(3000, 1), 256);
  EXPECT_GE(parallel, 3U);
  EXPECT_TRUE(fits(profile, device, asked(3000, parallel)));
  EXPECT_FALSE(fits(profile, device, asked(3000, parallel + 1)));
}

TEST(FitSearch, EndsAtTheMostThatIsAskedForAndAtNone) {
  const ModelProfile profile = model(4);
  const std::vector<DeviceBudget> large{{.id = "a", .memory = kGiB * 64}};
  EXPECT_EQ(largest_context(profile, large, asked(1, 1), 777), 777U);
  EXPECT_EQ(largest_parallel(profile, large, asked(1, 1), 1), 1U);
  EXPECT_EQ(largest_parallel(profile, large, asked(1, 1), 0), 0U);
  const std::vector<DeviceBudget> none{{.id = "a", .memory = kMiB}};
  EXPECT_EQ(largest_context(profile, none, asked(1, 1), 777), 0U);
}

TEST(FitSearch, CountsWhatSeveralDevicesHoldTogetherWhereTheModelMayBeCut) {
  ModelProfile profile = model(4);
  const Bytes half = need(profile, 1024, 1) * 3 / 4;
  const std::vector<DeviceBudget> two{{.id = "a", .memory = half}, {.id = "b", .memory = half}};
  EXPECT_TRUE(fits(profile, two, asked(1024, 1)));
  profile.allowed_cuts.clear();
  EXPECT_FALSE(fits(profile, two, asked(1024, 1)));
}

}  // namespace
}  // namespace gogrid

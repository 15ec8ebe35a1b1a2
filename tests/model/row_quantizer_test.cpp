#include "model/row_quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "model/stage_types.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kRow = 512;
constexpr std::uint32_t kF32 = 0;

std::vector<float> some_weights(std::size_t rows) {
  std::mt19937 random(7);
  std::normal_distribution<float> weight(0.0F, 0.02F);
  std::vector<float> weights(rows * kRow);
  for (float& value : weights) value = weight(random);
  return weights;
}

WeightRows rows_of(const std::vector<float>& weights) {
  return {std::as_bytes(std::span(weights)), kF32, kRow};
}

TEST(RowQuantizer, GivesTheSameBytesWhateverTheNumberOfThreads) {
  const auto weights = some_weights(256);
  for (const std::string& name : stage_type_names()) {
    const WeightType type = *find_stage_type(name);
    const auto alone = quantize_rows(rows_of(weights), type, 1);
    ASSERT_TRUE(alone) << name;
    EXPECT_LT(alone->size(), weights.size() * sizeof(float) / 3) << name;
    for (const unsigned threads : {0U, 3U, 7U}) {
      EXPECT_TRUE(*quantize_rows(rows_of(weights), type, threads) == *alone) << name;
    }
  }
}

TEST(RowQuantizer, TakesOneRowAndTellsRowsApart) {
  auto weights = some_weights(3);
  const WeightType type = *find_stage_type("q4_0");
  const auto all = *quantize_rows(rows_of(weights), type, 2);
  weights.resize(kRow);
  const auto first = *quantize_rows(rows_of(weights), type, 2);
  ASSERT_EQ(all.size(), 3 * first.size());
  EXPECT_TRUE(std::equal(first.begin(), first.end(), all.begin()));
}

TEST(RowQuantizer, RefusesWhatIsNoNumberWhereverItIs) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{255 * kRow + 100}}) {
      auto weights = some_weights(256);
      weights[at] = bad;
      const auto refused = quantize_rows(rows_of(weights), *find_stage_type("q4_k"), 4);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt);
      EXPECT_THAT(refused.error().message, HasSubstr("NaN or infinite"));
    }
  }
}

}  // namespace
}  // namespace gogrid

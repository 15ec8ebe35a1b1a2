#include "engine/loss_tally.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace gogrid {
namespace {

TEST(LossTally, OfEqualRowsIsNothing) {
  const std::vector<float> row{1, 2, 3};
  const auto loss = compare_logits(row, row, 2);
  ASSERT_TRUE(loss);
  EXPECT_DOUBLE_EQ(loss->kl, 0);
  EXPECT_TRUE(loss->same_top);
  EXPECT_DOUBLE_EQ(loss->nll, loss->base_nll);
  EXPECT_NEAR(loss->nll, -std::log(std::exp(3) / (std::exp(1) + std::exp(2) + std::exp(3))), 1e-12);
}

// p = (1/2, 1/2), q = (1/4, 3/4): KL = (ln 2 + ln (2/3)) / 2.
TEST(LossTally, IsTheDivergenceOfTheOtherFromTheBase) {
  const std::vector<float> base{0, 0};
  const std::vector<float> other{0, std::log(3.0F)};
  const auto loss = compare_logits(base, other, 0);
  ASSERT_TRUE(loss);
  EXPECT_NEAR(loss->kl, 0.5 * (std::log(2.0) + std::log(2.0 / 3.0)), 1e-7);
  EXPECT_NEAR(loss->base_nll, std::log(2.0), 1e-7);
  EXPECT_NEAR(loss->nll, std::log(4.0), 1e-7);
  EXPECT_FALSE(loss->same_top);
}

TEST(LossTally, DoesNotMindWhereLogitsAre) {
  const auto far =
      compare_logits(std::vector<float>{1000, 1001}, std::vector<float>{-1000, -999}, 1);
  ASSERT_TRUE(far);
  EXPECT_NEAR(far->kl, 0, 1e-6);
}

TEST(LossTally, RefusesWhatIsNoNumber) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  const std::vector<float> good{0, 1};
  for (const float odd : {kNaN, kInfinite, -kInfinite}) {
    EXPECT_FALSE(compare_logits(std::vector<float>{odd, 1}, good, 1)) << odd;
    EXPECT_FALSE(compare_logits(good, std::vector<float>{odd, 1}, 1)) << odd;
  }
}

TEST(LossTally, SumsUp) {
  LossTally tally;
  EXPECT_EQ(tally.total().positions, 0U);
  tally.add({.base_nll = 1, .nll = 2, .kl = 0.5, .same_top = true});
  tally.add({.base_nll = 3, .nll = 4, .kl = 1.5, .same_top = false});
  const ModelLoss loss = tally.total();
  EXPECT_EQ(loss.positions, 2U);
  EXPECT_DOUBLE_EQ(loss.base_perplexity, std::exp(2.0));
  EXPECT_DOUBLE_EQ(loss.perplexity, std::exp(3.0));
  EXPECT_DOUBLE_EQ(loss.mean_kl, 1);
  EXPECT_NEAR(loss.p99_kl, 1.49, 1e-6);
  EXPECT_DOUBLE_EQ(loss.same_top, 0.5);
}

TEST(Quantile, LiesBetweenItsNeighbours) {
  EXPECT_DOUBLE_EQ(quantile({}, 0.5), 0);
  EXPECT_DOUBLE_EQ(quantile({7}, 0.99), 7);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0), 1);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
}

}  // namespace
}  // namespace gogrid

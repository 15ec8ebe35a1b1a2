#include "pipeline/hidden_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace gogrid {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Limits = std::numeric_limits<float>;

TEST(HiddenCheck, LeavesFiniteRowsAlone) {
  std::vector<float> hidden{0.0F, -0.0F, Limits::max(), Limits::lowest(), Limits::denorm_min(),
                            1.0F};
  const auto before = hidden;
  EXPECT_THAT(zero_nonfinite_rows(hidden, 2), IsEmpty());
  EXPECT_EQ(hidden, before);
}

TEST(HiddenCheck, FindsEveryKindOfBadNumberAtEveryPlace) {
  for (const float bad : {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN(),
                          Limits::infinity(), -Limits::infinity()}) {
    for (std::size_t at = 0; at < 3 * 37; ++at) {
      std::vector<float> hidden(3 * std::size_t{37}, 1.0F);
      hidden[at] = bad;
      EXPECT_THAT(zero_nonfinite_rows(hidden, 3), ElementsAre(at / 37));
    }
  }
}

TEST(HiddenCheck, ZeroesTheBadRowsOnly) {
  std::vector<float> hidden(3 * std::size_t{4}, 1.0F);
  hidden[4] = Limits::infinity();
  zero_nonfinite_rows(hidden, 3);
  EXPECT_THAT(std::vector<float>(hidden.begin(), hidden.begin() + 4), Each(1.0F));
  EXPECT_THAT(std::vector<float>(hidden.begin() + 4, hidden.begin() + 8), Each(0.0F));
  EXPECT_THAT(std::vector<float>(hidden.begin() + 8, hidden.end()), Each(1.0F));
}

TEST(HiddenCheck, NamesAllBadRowsInOrder) {
  std::vector<float> hidden(5 * std::size_t{2}, Limits::quiet_NaN());
  hidden[4] = hidden[5] = 0.0F;
  EXPECT_THAT(zero_nonfinite_rows(hidden, 5), ElementsAre(0, 1, 3, 4));
}

}  // namespace
}  // namespace gogrid

#include "model/type_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace gogrid {
namespace {

using ::testing::ElementsAre;

struct Sum {
  Bytes bytes = 0;
  double loss = 0;
};

Sum sum_of(std::span<const TypeOptions> tensors, std::span<const std::size_t> chosen) {
  Sum sum;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    sum.bytes += tensors[i][chosen[i]].bytes;
    sum.loss += tensors[i][chosen[i]].loss;
  }
  return sum;
}

// The least loss within the budget, by trying everything.
double least_loss(std::span<const TypeOptions> tensors, Bytes budget) {
  if (tensors.empty()) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const TypeOption& option : tensors.front()) {
    if (option.bytes > budget) continue;
    least = std::min(least, option.loss + least_loss(tensors.subspan(1), budget - option.bytes));
  }
  return least;
}

TEST(TypeChoice, GivesTheBytesToTheTensorThatIsHurtMost) {
  const std::vector<TypeOptions> tensors{{{10, 1.0}, {20, 0.5}}, {{10, 9.0}, {20, 0.5}}};
  EXPECT_THAT(*choose_types(tensors, 30), ElementsAre(0, 1));
  EXPECT_THAT(*choose_types(tensors, 29), ElementsAre(0, 0));
  EXPECT_THAT(*choose_types(tensors, 40), ElementsAre(1, 1));
  EXPECT_THAT(*choose_types(tensors, 1000), ElementsAre(1, 1));
}

TEST(TypeChoice, SaysWhereNothingFits) {
  const std::vector<TypeOptions> tensors{{{10, 1.0}, {7, 2.0}}, {{5, 1.0}}};
  EXPECT_EQ(smallest_size(tensors), 12U);
  EXPECT_FALSE(choose_types(tensors, 11));
  EXPECT_THAT(*choose_types(tensors, 12), ElementsAre(1, 0));
}

TEST(TypeChoice, TakesNoOptionThatIsLargerAndWorse) {
  const std::vector<TypeOptions> tensors{{{20, 3.0}, {10, 2.0}, {30, 2.5}, {10, 2.1}}};
  EXPECT_THAT(*choose_types(tensors, 100), ElementsAre(1));
}

// By the byte the small step saves more, and then the large one does not fit any more.
TEST(TypeChoice, ExchangesAStepThatStandsInTheWayOfABetterOne) {
  const std::vector<TypeOptions> tensors{{{0, 10.0}, {4, 5.0}}, {{0, 10.0}, {10, 0.0}}};
  EXPECT_THAT(*choose_types(tensors, 10), ElementsAre(0, 1));
}

// An option above the hull is no step of its own, but may be what the rest is spent on.
TEST(TypeChoice, SpendsWhatIsLeftOnOptionsAboveTheHull) {
  const std::vector<TypeOptions> tensors{{{0, 10.0}, {5, 8.0}, {10, 0.0}}};
  EXPECT_THAT(*choose_types(tensors, 9), ElementsAre(1));
}

TEST(TypeChoice, OfNothingIsNothing) {
  EXPECT_TRUE(choose_types({}, 0)->empty());
  EXPECT_EQ(smallest_size({}), 0U);
}

TEST(TypeChoice, SumsStopAtTheEndOf64Bits) {
  const std::vector<TypeOptions> tensors{{{UINT64_MAX, 0}}, {{UINT64_MAX, 0}}};
  EXPECT_EQ(smallest_size(tensors), UINT64_MAX);
}

// Never over the budget, never worse than the best by more than one step, and mostly the best.
TEST(TypeChoice, IsNearTheBestThereIs) {
  std::mt19937_64 random(7);
  const auto number = [&](Bytes most) { return 1 + random() % most; };
  int cases = 0;
  int best = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<TypeOptions> tensors(1 + random() % 6);
    double largest_step = 0;
    Bytes all = 0;
    for (TypeOptions& options : tensors) {
      const Bytes weights = number(50);
      double loss = static_cast<double>(number(1000));
      Bytes bits = 1;
      for (std::size_t i = 0; i < 1 + random() % 5; ++i) {
        options.push_back({weights * (bits += number(4)), loss});
        largest_step = std::max(largest_step, loss);
        loss /= static_cast<double>(1 + number(8));
      }
      std::ranges::shuffle(options, random);
      all += std::ranges::max_element(options, {}, &TypeOption::bytes)->bytes;
    }
    const Bytes least = smallest_size(tensors);
    const Bytes budget = least + random() % (all - least + 1);
    const auto chosen = choose_types(tensors, budget);
    ASSERT_TRUE(chosen);
    const Sum sum = sum_of(tensors, *chosen);
    EXPECT_LE(sum.bytes, budget);
    const double optimum = least_loss(tensors, budget);
    EXPECT_LE(sum.loss, optimum + largest_step);
    ++cases;
    if (sum.loss <= optimum * (1 + 1e-9)) ++best;
  }
  EXPECT_GT(best, cases * 95 / 100);
}

}  // namespace
}  // namespace gogrid

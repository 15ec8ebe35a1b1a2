#include "base/share.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace gogrid {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

TEST(Share, IsTheNearestMillionth) {
  EXPECT_EQ(Share::of(0.7)->millionths(), 700'000U);
  EXPECT_EQ(Share::of(1.0 / 3.0)->millionths(), 333'333U);
  EXPECT_EQ(Share::of(0.0)->millionths(), 0U);
  EXPECT_EQ(Share::of(1.0)->millionths(), Share::kWhole);
  EXPECT_EQ(Share::of(-0.0)->millionths(), 0U);
  EXPECT_EQ(Share::of_millionths(2'000'000).millionths(), Share::kWhole);
}

TEST(Share, RefusesWhatIsNoShare) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double bad : {-1e-9, 1.0000001, 70.0, -1.0, kInfinity, -kInfinity, std::nan("")}) {
    EXPECT_FALSE(Share::of(bad)) << bad;
  }
}

TEST(Share, OfNothingIsNothingAndTheWholeIsAll) {
  constexpr std::uint64_t kExact = std::uint64_t{1} << 53;  // of a double
  for (const std::uint64_t total : {0UL, 1UL, kExact - 1, kExact, kExact + 1, kMost - 1, kMost}) {
    EXPECT_EQ(Share().floor_of(total), 0U);
    EXPECT_EQ(Share::of_millionths(Share::kWhole).floor_of(total), total);
  }
}

TEST(Share, IsExactWhereFloatingPointIsNot) {
  // 2^53 + 1 is no double; half of the largest total rounds up in one.
  EXPECT_EQ(Share::of(0.5)->floor_of(18'014'398'509'481'986), 9'007'199'254'740'993U);
  EXPECT_EQ(Share::of(0.5)->floor_of(kMost), kMost / 2);
  EXPECT_EQ(Share::of_millionths(999'999).floor_of(kMost), 18'446'725'626'965'477'905ULL);
}

TEST(Share, RoundsDownWhatItIsOf) {
  EXPECT_EQ(Share::of_millionths(333'333).floor_of(3), 0U);
  EXPECT_EQ(Share::of_millionths(250'000).floor_of(4), 1U);
}

TEST(Share, OfTwoNumbersIsExactAndAtMostTheWhole) {
  const auto part_of = [](std::uint64_t part, std::uint64_t whole) {
    return Share::part_of(part, whole).millionths();
  };
  EXPECT_EQ(part_of(0, 0), 0U);
  EXPECT_EQ(part_of(5, 0), 0U);
  EXPECT_EQ(part_of(1, 3), 333'333U);
  EXPECT_EQ(part_of(kMost, kMost), Share::kWhole);
  EXPECT_EQ(part_of(kMost - 1, kMost), 999'999U);
  EXPECT_EQ(part_of(kMost, 1), Share::kWhole);
}

TEST(Share, SumsAndDifferencesStayWithinNothingAndAll) {
  EXPECT_EQ(Share::percent(30) + Share::percent(40), Share::percent(70));
  EXPECT_EQ(Share::percent(70) + Share::percent(40), Share::percent(100));
  EXPECT_EQ(Share::percent(70) - Share::percent(40), Share::percent(30));
  EXPECT_EQ(Share::percent(40) - Share::percent(70), Share());
  EXPECT_EQ(Share::percent(1'000'000'000'000), Share::percent(100));
}

TEST(Share, IsMonotoneInTheTotalAndInTheShare) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t total = random() >> (random() % 64);
    const auto share = Share::of_millionths(static_cast<std::uint32_t>(random() % Share::kWhole));
    const auto more = Share::of_millionths(share.millionths() + 1);
    EXPECT_LE(share.floor_of(total), more.floor_of(total));
    EXPECT_LE(more.floor_of(total), total);
    if (total < kMost) {
      EXPECT_LE(share.floor_of(total), share.floor_of(total + 1));
    }
  }
}

}  // namespace
}  // namespace gogrid

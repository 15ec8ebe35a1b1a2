#include "engine/importance_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ImportanceCollector, SumsSquaresByColumn) {
  ImportanceCollector collector;
  const std::vector<float> one{1, 2};
  const std::vector<float> two{3, -4};
  for (const auto& row : {one, two}) collector.add({.weight = "a.weight", .row = row});
  const auto entries = collector.entries();
  EXPECT_THAT(entries.at("a.weight").sums, ElementsAre(10, 20));
  EXPECT_THAT(entries.at("a.weight").counts, ElementsAre(2));
  EXPECT_TRUE(collector.status());
}

TEST(ImportanceCollector, KeepsExpertsApartAndAStackThatIsUsedAsAWholeTogether) {
  ImportanceCollector collector;
  const std::vector<float> row{2};
  collector.add({.weight = "e", .matrix = 1, .matrices = 3, .chosen = true, .row = row});
  collector.add({.weight = "e", .matrix = 1, .matrices = 3, .chosen = true, .row = row});
  for (std::uint32_t i = 0; i < 2; ++i)
    collector.add({.weight = "s", .matrix = i, .matrices = 2, .row = row});
  const auto entries = collector.entries();
  EXPECT_THAT(entries.at("e").sums, ElementsAre(0, 8, 0));
  EXPECT_THAT(entries.at("e").counts, ElementsAre(0, 2, 0));
  EXPECT_THAT(entries.at("s").sums, ElementsAre(4, 4));
  EXPECT_THAT(entries.at("s").counts, ElementsAre(1));
}

TEST(ImportanceCollector, GoesOnWhereAMatrixWas) {
  ImportanceMatrix matrix;
  matrix.entries["a"] = {.sums = {10, 20}, .counts = {2}};
  ImportanceCollector collector(matrix);
  const std::vector<float> row{1, 1};
  collector.add({.weight = "a", .row = row});
  EXPECT_THAT(collector.entries().at("a").sums, ElementsAre(11, 21));
  EXPECT_THAT(collector.entries().at("a").counts, ElementsAre(3));
}

TEST(ImportanceCollector, NamesTheWeightWhoseNumbersAreNoUse) {
  const std::vector<float> odd{1, std::numeric_limits<float>::quiet_NaN()};
  ImportanceCollector collector;
  collector.add({.weight = "blk.7.x", .row = odd});
  EXPECT_THAT(collector.status().error().message, HasSubstr("blk.7.x"));
  ImportanceCollector other;
  const std::vector<float> row{1, 1};
  other.add({.weight = "a", .row = row});
  other.add({.weight = "a", .row = std::span(row).first(1)});
  EXPECT_THAT(other.status().error().message, HasSubstr("as before"));
}

}  // namespace
}  // namespace gogrid

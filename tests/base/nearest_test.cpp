#include "base/nearest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(NearestNames, PutsTheSmallestSlipFirst) {
  const std::vector<std::string> known{"context", "contest", "parallel"};
  EXPECT_THAT(nearest_names("contxt", known), ElementsAre("context", "contest"));
}

TEST(NearestNames, CountsSwappedNeighboursOnce) {
  const std::vector<std::string> known{"nice", "mice"};
  EXPECT_THAT(nearest_names("ncie", known, 1), ElementsAre("nice"));
}

TEST(NearestNames, FindsTheRestOfAPrefix) {
  const std::vector<std::string> known{"smollm2-135m", "other-model-name"};
  EXPECT_THAT(nearest_names("smol", known), ElementsAre("smollm2-135m"));
  EXPECT_THAT(nearest_names("smollm2-135m-instruct", known), ElementsAre("smollm2-135m"));
}

TEST(NearestNames, IgnoresCase) {
  const std::vector<std::string> known{"SmolLM2"};
  EXPECT_THAT(nearest_names("smollm2", known), ElementsAre("SmolLM2"));
}

TEST(NearestNames, LeavesOutWhatIsNoSlip) {
  const std::vector<std::string> known{"temperature", "ab"};
  EXPECT_THAT(nearest_names("xyz", known), IsEmpty());
  EXPECT_THAT(nearest_names("cd", known), IsEmpty()) << "two letters replaced by two others";
  EXPECT_THAT(nearest_names("", known), IsEmpty());
}

TEST(NearestNames, GivesNoMoreThanAsked) {
  const std::vector<std::string> known{"aab", "aac", "aad", "aae"};
  EXPECT_EQ(nearest_names("aaa", known).size(), 3U);
  EXPECT_EQ(nearest_names("aaa", known, 1).size(), 1U);
  EXPECT_THAT(nearest_names("aaa", known, 0), IsEmpty());
}

TEST(NearestNames, DoesNotCompareWhatIsLongerThanAnyName) {
  const std::vector<std::string> known{std::string(1 << 20, 'a')};
  EXPECT_THAT(nearest_names(std::string(1 << 20, 'a'), known), IsEmpty());
}

TEST(Suggestion, NamesTheNearestOrElseAll) {
  const std::vector<std::string> known{"fast", "slow"};
  EXPECT_EQ(suggestion("fst", known), " (did you mean fast?)");
  EXPECT_EQ(suggestion("zzzzzz", known), " (known: fast, slow)");
  EXPECT_EQ(suggestion("fst", {}), "");
}

TEST(Suggestion, DoesNotListAThousandNames) {
  const std::vector<std::string> known(1000, "model");
  EXPECT_LT(suggestion("zzzzzzzzzzzz", known).size(), 200U);
}

}  // namespace
}  // namespace gogrid

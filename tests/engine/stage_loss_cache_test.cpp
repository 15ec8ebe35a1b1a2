#include "engine/stage_loss_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/files.h"
#include "engine/loss_text.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TemporaryFolder;

const std::string kDigest(64, 'd');
const std::string kText(64, 'e');

StageLossRecord record(std::uint32_t first, double kl = 0.5) {
  return {.stages = {{{first, 30}, "q4_K"}},
          .loss = {.base = "model",
                   .base_digest = kDigest,
                   .text_digest = kText,
                   .context = 256,
                   .positions = 508,
                   .base_perplexity = 12.25,
                   .perplexity = 13,
                   .mean_kl = kl,
                   .p99_kl = 2,
                   .same_top = 0.875}};
}

class StageLossCacheTest : public ::testing::Test {
 protected:
  std::filesystem::path only_file() const {
    return std::filesystem::directory_iterator(folder_ / "losses")->path();
  }

  const TemporaryFolder folder_;
  const StageLossCache cache_{folder_ / "losses"};
};

TEST_F(StageLossCacheTest, HasWhatWasKeptForTheSameModelStagesAndText) {
  EXPECT_THAT(cache_.list(kDigest), IsEmpty());
  ASSERT_TRUE(cache_.keep(record(12)));
  const auto stages = record(12).stages;
  EXPECT_EQ(cache_.find(kDigest, stages, kText), record(12).loss);
  EXPECT_FALSE(cache_.find(std::string(64, 'f'), stages, kText));
  EXPECT_FALSE(cache_.find(kDigest, stages, std::string(64, 'f')));
  EXPECT_FALSE(cache_.find(kDigest, record(13).stages, kText));
  auto other = stages;
  other[0].type = "q8_0";
  EXPECT_FALSE(cache_.find(kDigest, other, kText));
}

TEST_F(StageLossCacheTest, KeepsOneForEachWayToHaveStagesTheLastFirst) {
  ASSERT_TRUE(cache_.keep(record(12)));
  ASSERT_TRUE(cache_.keep(record(20)));
  ASSERT_TRUE(cache_.keep(record(12, 0.25)));
  const auto kept = cache_.list(kDigest);
  ASSERT_EQ(kept.size(), 2U);
  EXPECT_EQ(kept[0].stages[0].layers.first, 12U);
  EXPECT_EQ(kept[0].loss.mean_kl, 0.25);
  for (std::uint32_t i = 0; i < 100; ++i) ASSERT_TRUE(cache_.keep(record(i)));
  EXPECT_EQ(cache_.list(kDigest).size(), 32U);
  EXPECT_EQ(cache_.list(kDigest).front().stages[0].layers.first, 99U);
}

TEST_F(StageLossCacheTest, TakesNothingFromADamagedFile) {
  ASSERT_TRUE(cache_.keep(record(12)));
  const std::string whole = *read_file(only_file(), kMiB);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const std::string& text :
       {std::string(), std::string("[]"), whole.substr(0, whole.size() / 2), with("\"q4_K\"", "7"),
        with("0.875", "\"x\""), with("508", "-508"), with("256", "1e99"),
        with("\"stages\"", "\"stage\""), with(kText, ""), with(kDigest, std::string(64, 'f'))}) {
    std::ofstream(only_file()) << text;
    EXPECT_THAT(cache_.list(kDigest), IsEmpty()) << text;
  }
  ASSERT_TRUE(cache_.keep(record(12)));
  EXPECT_EQ(cache_.list(kDigest).size(), 1U);
}

TEST_F(StageLossCacheTest, NamesTheStagesOfAPlanThatHaveATypeOfTheirOwn) {
  Plan plan;
  plan.stages.resize(2);
  plan.stages[0].layers = {0, 12};
  plan.stages[1].layers = {12, 18};
  plan.stages[1].type = WeightType{"q4_K", 12, 256};
  EXPECT_THAT(smaller_ranges(plan), ElementsAre(SmallerRange{{12, 18}, "q4_K"}));
  EXPECT_EQ(to_string(smaller_ranges(plan)), "layers 12-18 as q4_K");
}

TEST(LossText, IsPlainAndLongEnough) {
  EXPECT_GT(loss_text().size(), 5000U);
  for (const char c : loss_text()) EXPECT_TRUE((c >= 0x20 && c < 0x7F) || c == '\n');
}

}  // namespace
}  // namespace gogrid

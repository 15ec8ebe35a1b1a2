#include "app/long_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

class LongJobTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<LongJob>> begin(const PolicyOptions& limits) {
    return LongJob::begin(workspace_, limits, "testing");
  }

  const TemporaryFolder folder_;
  const Workspace workspace_ = Workspace::open(folder_ / "data").value();
};

TEST_F(LongJobTest, GoesByTheModeAndTheLimitsOverIt) {
  const auto job =
      begin({.config = {}, .mode = "aggressive", .limits = {"max_compute=1", "max_batch=3"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ((*job)->policy().mode, ResourceMode::kAggressive);
  EXPECT_EQ((*job)->policy().max_compute.millionths(), Share::kWhole);
  EXPECT_EQ((*job)->policy().max_batch, 3U);
  EXPECT_EQ((*job)->policy().nice, 0);
}

TEST_F(LongJobTest, NamesALimitThatIsNone) {
  for (const char* limit : {"max_computer=1", "max_compute=2", "max_compute"}) {
    const auto job = begin({.config = {}, .mode = {}, .limits = {limit}});
    ASSERT_FALSE(job) << limit;
    EXPECT_EQ(job.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(job.error().message, HasSubstr("--limit: "));
  }
}

// A share of a millionth would rest for hours after any work at all.
TEST_F(LongJobTest, RestsForItsShareUntilItIsToldToStop) {
  const auto busy = begin({.config = {}, .mode = "aggressive", .limits = {"max_compute=1"}});
  ASSERT_TRUE(busy);
  EXPECT_TRUE((*busy)->rest());
  const auto idle = begin({.config = {}, .mode = "aggressive", .limits = {"max_compute=0"}});
  ASSERT_TRUE(idle);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE((*idle)->rest(stop.get_token()));
}

}  // namespace
}  // namespace gogrid

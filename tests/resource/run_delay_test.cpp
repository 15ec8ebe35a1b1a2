#include "resource/run_delay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resource/fake_root.h"

namespace gogrid::testing {
namespace {

using std::chrono::nanoseconds;
using ::testing::HasSubstr;

TEST(RunDelay, IsTheSecondOfTheKernelsThreeNumbers) {
  EXPECT_EQ(parse_run_delay("1200 34 5\n"), nanoseconds(34));
}

TEST(RunDelay, IsUnknownWhereTheLineIsNotTheKernels) {
  for (const char* text : {"", "1200", "1200 x 5", "1200 -3 5", "1 99999999999999999999 3"}) {
    const auto delay = parse_run_delay(text);
    ASSERT_FALSE(delay) << text;
    EXPECT_THAT(delay.error(), HasSubstr("three numbers")) << text;
  }
}

TEST(RunDelay, IsOfAllThreadsTogether) {
  const FakeRoot root;
  root.put("proc/self/task/10/schedstat", "5 30 1\n");
  root.put("proc/self/task/11/schedstat", "5 12 1\n");
  root.put("proc/self/task/12/comm", "gone meanwhile\n");
  EXPECT_EQ(run_delay(root.path()), nanoseconds(42));
}

TEST(RunDelay, IsUnknownByNameWhereTheKernelCountsNone) {
  const FakeRoot root;
  EXPECT_FALSE(run_delay(root.path()));
  root.put("proc/self/task/10/comm", "gogrid\n");
  const auto delay = run_delay(root.path());
  ASSERT_FALSE(delay);
  EXPECT_THAT(delay.error(), HasSubstr("no thread has a schedstat"));
}

TEST(RunDelay, OfThisProcessIsKnown) { EXPECT_TRUE(run_delay()); }

}  // namespace
}  // namespace gogrid::testing

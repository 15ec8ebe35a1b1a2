#include "base/durations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST(Durations, AreWrittenAsAWholeNumberAndAUnit) {
  EXPECT_EQ(parse_duration("90s").value(), 90s);
  EXPECT_EQ(parse_duration("5m").value(), 5min);
  EXPECT_EQ(parse_duration("2h").value(), 2h);
  EXPECT_EQ(parse_duration("250ms").value(), 250ms);
  EXPECT_EQ(parse_duration("0").value(), 0s);
  EXPECT_EQ(parse_duration("0s").value(), 0s);
  EXPECT_EQ(parse_duration("8760h").value(), 8760h);
}

TEST(Durations, AnythingElseIsRefusedWithWhatWasExpected) {
  for (const char* text : {"", "5", "m", "-1s", "1.5h", "5 m", "5min", "8761h", "1e3s",
                           "99999999999999999999s", "9223372036854775807h", "5m "}) {
    const auto time = parse_duration(text);
    ASSERT_FALSE(time) << text;
    EXPECT_EQ(time.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(time.error().message, HasSubstr("like 90s, 5m or 2h"));
  }
}

TEST(Durations, AreShownInTheLargestUnitThatIsExact) {
  EXPECT_EQ(format_duration(90s), "90s");
  EXPECT_EQ(format_duration(300s), "5m");
  EXPECT_EQ(format_duration(2h), "2h");
  EXPECT_EQ(format_duration(1500ms), "1500ms");
  EXPECT_EQ(format_duration(0s), "0ms");
}

}  // namespace
}  // namespace gogrid

#include "http/range_header.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

TEST(RangeHeader, AsksForAPart) {
  const auto expect = [](std::string_view header, ByteRange range) {
    const auto asked = asked_range(header, 1000);
    ASSERT_TRUE(asked) << header;
    EXPECT_TRUE(asked->part) << header;
    EXPECT_EQ(asked->range.first, range.first) << header;
    EXPECT_EQ(asked->range.last, range.last) << header;
  };
  expect("bytes=0-0", {0, 1});
  expect("bytes=10-19", {10, 20});
  expect("bytes=10-", {10, 1000});
  expect("bytes=999-18446744073709551615", {999, 1000});
  expect("bytes=-1", {999, 1000});
  expect("bytes=-5000", {0, 1000});
}

TEST(RangeHeader, OfNoByteThatIsThereCannotBeAnswered) {
  for (const char* header : {"bytes=1000-", "bytes=1000-2000", "bytes=-0"})
    EXPECT_FALSE(asked_range(header, 1000)) << header;
}

TEST(RangeHeader, ThatIsNoSingleRangeOfBytesAsksForTheWhole) {
  for (const char* header :
       {"", "bytes", "bytes=", "bytes=-", "bytes=x-5", "bytes=5-x", "bytes=7-5", "bytes=1-2,4-5",
        "bytes=--5", "rows=1-2", "bytes=99999999999999999999-", "bytes= 1-2"}) {
    const auto asked = asked_range(header, 1000);
    ASSERT_TRUE(asked) << header;
    EXPECT_FALSE(asked->part) << header;
    EXPECT_EQ(asked->range, (ByteRange{0, 1000})) << header;
  }
}

}  // namespace
}  // namespace gogrid

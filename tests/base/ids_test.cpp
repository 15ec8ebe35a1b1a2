#include "base/ids.h"

#include <gtest/gtest.h>

#include <set>

namespace gogrid {
namespace {

TEST(RequestId, IsAPrefixAnd96RandomBits) {
  const std::string id = make_request_id();
  ASSERT_EQ(id.size(), 4U + 24U);
  EXPECT_TRUE(id.starts_with("req-"));
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef", 4), std::string::npos);
  EXPECT_TRUE(accept_request_id(id).has_value());
}

TEST(RequestId, NeverRepeats) {
  std::set<std::string> seen;
  for (int i = 0; i < 10'000; ++i) seen.insert(make_request_id());
  EXPECT_EQ(seen.size(), 10'000U);
}

TEST(RequestId, FromOutsideIsKeptWhenSafeToLog) {
  EXPECT_EQ(accept_request_id("Job:7_a.B-9"), "Job:7_a.B-9");
  EXPECT_TRUE(accept_request_id(std::string(kMaxRequestIdLength, 'a')).has_value());
}

TEST(RequestId, FromOutsideIsRefusedWhenItCouldForgeALogLine) {
  EXPECT_FALSE(accept_request_id("").has_value());
  EXPECT_FALSE(accept_request_id(std::string(kMaxRequestIdLength + 1, 'a')).has_value());
  for (const char* bad : {"a b", "a\nb", "a\"b", "a/b", "\xC3\xA4", "a\x7F"}) {
    EXPECT_FALSE(accept_request_id(bad).has_value()) << bad;
  }
  EXPECT_FALSE(accept_request_id(std::string_view("a\0b", 3)).has_value());
}

TEST(RandomHex, HasTwoDigitsPerByte) {
  EXPECT_EQ(random_hex(0), "");
  EXPECT_EQ(random_hex(1).size(), 2U);
  EXPECT_EQ(random_hex(1000).size(), 2000U);
  EXPECT_NE(random_hex(16), random_hex(16));
}

}  // namespace
}  // namespace gogrid

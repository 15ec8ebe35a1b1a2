#include "http/loopback.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

TEST(Loopback, HasNamesWithAPortAndWithout) {
  for (const char* host : {"127.0.0.1", "127.0.0.1:8080", "127.255.255.254", "[::1]", "[::1]:8080",
                           "localhost", "LOCALHOST:1"}) {
    EXPECT_TRUE(names_loopback(host)) << host;
  }
}

TEST(Loopback, HasNoOtherNames) {
  for (const char* host : {"",
                           ":",
                           ":80",
                           "evil.example",
                           "localhost.",
                           "localhost.evil",
                           "localhost:",
                           "localhost:x",
                           "localhost:123456",
                           "127.0.0.1.evil",
                           "127.0.0.1:80:80",
                           "127.1",
                           "128.0.0.1",
                           "::1",
                           "[::1",
                           "[::1]x",
                           "[::1]:",
                           "[::]",
                           "[",
                           "user@localhost",
                           " localhost"}) {
    EXPECT_FALSE(names_loopback(host)) << host;
  }
}

TEST(Loopback, IsAnAddressThatOnlyThisMachineReaches) {
  EXPECT_TRUE(is_loopback("127.0.0.1"));
  EXPECT_TRUE(is_loopback("::1"));
  EXPECT_FALSE(is_loopback("0.0.0.0"));
  EXPECT_FALSE(is_loopback("::"));
  EXPECT_FALSE(is_loopback("localhost"));
}

}  // namespace
}  // namespace gogrid

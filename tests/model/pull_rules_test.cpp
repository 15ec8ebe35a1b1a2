#include "model/pull_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

HttpUrl url(std::string_view text) { return parse_url(text).value(); }

TEST(Credential, GoesToItsOriginOnly) {
  const std::optional<Credential> mine =
      make_credential(url("https://hub.org/"), " hf_secret\n").value();
  EXPECT_THAT(headers_for(url("https://hub.org/any/file?x"), mine, {}),
              ElementsAre("Authorization: Bearer hf_secret"));
  for (const char* other : {"https://cdn.hub.org/", "http://hub.org:443/", "https://hub.org:444/",
                            "https://hub.org.evil.org/"})
    EXPECT_THAT(headers_for(url(other), mine, {}), IsEmpty()) << other;
}

TEST(Credential, IsNeverShownAndCannotBeTwoHeaders) {
  for (const std::string& token : {std::string("se cret"), std::string("secret\r\nHost: evil"),
                                   std::string(), std::string(5000, 's')}) {
    const auto made = make_credential(url("https://hub.org/"), token);
    ASSERT_FALSE(made);
    EXPECT_THAT(made.error().message, Not(HasSubstr("cret")));
  }
}

TEST(Credential, DoesNotTravelInTheClear) {
  EXPECT_FALSE(make_credential(url("http://hub.org/"), "secret"));
  EXPECT_TRUE(make_credential(url("http://127.0.0.1:80/"), "secret"));
}

TEST(HeadersFor, NameTheLastByteAndNotTheOneAfter) {
  EXPECT_THAT(headers_for(url("https://h/"), {}, ByteRange{0, 1024}),
              ElementsAre("Range: bytes=0-1023"));
}

TEST(NextHop, IsBounded) {
  HttpHead head;
  head.location = "/again";
  EXPECT_TRUE(next_hop(url("https://h/"), head, kMaxRedirects - 1, false));
  const auto last = next_hop(url("https://h/"), head, kMaxRedirects, false);
  ASSERT_FALSE(last);
  EXPECT_THAT(last.error().message, HasSubstr("redirects"));
}

TEST(NextHop, NeverLeavesHttps) {
  HttpHead head;
  head.location = "http://h/";
  EXPECT_FALSE(next_hop(url("https://h/"), head, 0, false));
}

}  // namespace
}  // namespace gogrid

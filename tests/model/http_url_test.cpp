#include "model/http_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

HttpUrl url(std::string_view text) {
  auto parsed = parse_url(text);
  if (!parsed) throw std::runtime_error(parsed.error().message);
  return *std::move(parsed);
}

std::string refusal(std::string_view text) {
  const auto parsed = parse_url(text);
  return parsed ? "accepted" : parsed.error().message;
}

TEST(HttpUrl, IsTakenApartAndPutTogether) {
  const HttpUrl parsed = url("HTTPS://Example.ORG:8443/a/b.gguf?x=1#fragment");
  EXPECT_TRUE(parsed.https);
  EXPECT_EQ(parsed.host, "example.org");
  EXPECT_EQ(parsed.port, 8443);
  EXPECT_EQ(parsed.target, "/a/b.gguf?x=1");
  EXPECT_EQ(parsed.text(), "https://example.org:8443/a/b.gguf?x=1");
  EXPECT_EQ(url("https://example.org").text(), "https://example.org/");
  EXPECT_EQ(url("http://[::1]?q").text(), "http://[::1]/?q");
}

TEST(HttpUrl, RefusesWhatOthersCouldReadDifferently) {
  for (const std::string_view text :
       {"https://hub.org@evil.org/", "https://user:password@hub.org/",
        "https://hub.org\\@evil.org/", "https://hub.org/a b", "https://hub.org/a\r\nX: y",
        "https://", "https:///path", "https://hub.org:0/", "https://hub.org:65536/",
        "https://hub.org:8a/", "https://hu%62.org/", "https://[::1/", "https://[::1]x/",
        "https://.hub.org/", "https://hub.org../", "ftp://hub.org/", "file:///etc/passwd",
        "hub.org/a",
        "https://h\xC3\xBC"
        "b.org/"}) {
    EXPECT_THAT(refusal(text), HasSubstr("[url] expected")) << text;
  }
  EXPECT_THAT(refusal("https://h/" + std::string(9000, 'a')), HasSubstr("8192"));
}

TEST(HttpUrl, RefusesAddressesThatSomeReadAsFourNumbers) {
  for (const std::string_view host : {"127.1", "2130706433", "0x7f000001", "0x7f.1", "0127.0.0.1",
                                      "0177.0.0.1", "8.8", "1", "0"}) {
    EXPECT_THAT(refusal("http://" + std::string(host) + "/"), HasSubstr("four decimal numbers"))
        << host;
  }
  EXPECT_EQ(url("http://8.8.8.8/").host, "8.8.8.8");
}

TEST(HttpUrl, TheDotThatEndsANameIsNoPartOfIt) {
  EXPECT_EQ(url("http://LOCALHOST./x").text(), "http://localhost/x");
  EXPECT_EQ(url("http://127.0.0.1.:8080/").host, "127.0.0.1");
}

TEST(HttpUrl, KnowsThisMachineByAllItsAddresses) {
  for (const char* text :
       {"http://127.0.0.1/", "http://0.0.0.0/", "http://localhost./", "http://x.localhost/",
        "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/", "http://[0:0:0:0:0:0:0:1]/"}) {
    EXPECT_TRUE(is_loopback(url(text))) << text;
    EXPECT_FALSE(check_hop(url("https://hub.org/"), url(text), true)) << text;
  }
  for (const char* text : {"http://8.8.8.8/", "http://localhost.evil.org/", "http://[2001:db8::1]/",
                           "http://mylocalhost/"})
    EXPECT_FALSE(is_loopback(url(text))) << text;
}

TEST(HttpUrl, TellsNoSecretsOfItsQuery) {
  EXPECT_EQ(url("https://cdn.org/blob?signature=secret").shown(), "https://cdn.org/blob");
  EXPECT_THAT(refusal("https://cdn.org:x/blob?signature=secret"), Not(HasSubstr("secret")));
  EXPECT_THAT(refusal("https://user:secret@cdn.org/"), Not(HasSubstr("secret")));
}

TEST(HttpUrl, NamesItsFile) {
  EXPECT_EQ(url("https://h/a/model%20v1.gguf?download=true").file_name(), "model v1.gguf");
  EXPECT_EQ(url("https://h/a/").file_name(), "");
  EXPECT_EQ(url("https://h/50%").file_name(), "50%");
}

TEST(HttpUrl, FollowsLocationsAsBrowsersDo) {
  const HttpUrl base = url("https://hub.org:444/a/b?c");
  const auto to = [&](std::string_view location) {
    const auto next = resolve_location(base, location);
    return next ? next->text() : next.error().message;
  };
  EXPECT_EQ(to("https://cdn.org/x"), "https://cdn.org/x");
  EXPECT_EQ(to("//cdn.org/x"), "https://cdn.org/x");
  EXPECT_EQ(to("/x?y"), "https://hub.org:444/x?y");
  EXPECT_EQ(to("x/y:z"), "https://hub.org:444/a/x/y:z");
  EXPECT_EQ(to("?d"), "https://hub.org:444/a/b?d");
  EXPECT_THAT(to(""), HasSubstr("expected"));
  EXPECT_THAT(to("javascript:alert(1)"), HasSubstr("expected"));
}

TEST(HttpUrl, AnOriginIsSchemeHostAndPort) {
  EXPECT_TRUE(same_origin(url("https://hub.org/a"), url("https://HUB.org:443/b")));
  EXPECT_FALSE(same_origin(url("https://hub.org/"), url("http://hub.org:443/")));
  EXPECT_FALSE(same_origin(url("https://hub.org/"), url("https://hub.org:444/")));
  EXPECT_FALSE(same_origin(url("https://hub.org/"), url("https://cdn.hub.org/")));
}

TEST(HttpUrl, HttpIsForThisMachineOnly) {
  for (const char* text :
       {"http://127.0.0.1/", "http://127.8.9.255:80/", "http://[::1]/", "http://localhost/"})
    EXPECT_TRUE(check_scheme(url(text), false)) << text;
  for (const char* text : {"http://hub.org/", "http://127.0.0.1.evil.org/", "http://127.0.0.256/",
                           "http://128.0.0.1/", "http://[::2]/", "http://[::ffff:8.8.8.8]/",
                           "http://localhost.evil.org/", "http://127.0.0.1.1/"}) {
    const Status status = check_scheme(url(text), false);
    ASSERT_FALSE(status) << text;
    EXPECT_THAT(status.error().message, HasSubstr("--allow-http"));
    EXPECT_TRUE(check_scheme(url(text), true));
  }
}

TEST(HttpUrl, ARedirectDoesNotLeadFromAnotherMachineToThisOne) {
  EXPECT_FALSE(check_hop(url("https://hub.org/"), url("http://127.0.0.1:8080/admin"), true));
  EXPECT_FALSE(check_hop(url("https://hub.org/"), url("http://cdn.org/"), false));
  EXPECT_TRUE(check_hop(url("https://hub.org/"), url("https://cdn.org/"), false));
  EXPECT_TRUE(check_hop(url("http://127.0.0.1:1/"), url("http://127.0.0.1:2/"), false));
}

TEST(HttpUrl, EncodesWhatAnAddressCannotHold) {
  EXPECT_EQ(percent_encode("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(percent_encode("a b/ü#?%.gguf", true), "a%20b/%C3%BC%23%3F%25.gguf");
}

}  // namespace
}  // namespace gogrid

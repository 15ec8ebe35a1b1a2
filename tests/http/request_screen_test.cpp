#include "http/request_screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "http/malformed_heads.h"

namespace gogrid {
namespace {

constexpr ScreenLimits kLimits{.max_head = 1000, .max_body = 10'000};

std::optional<ScreenRefusal> feed_in_pieces(RequestScreen& screen, std::string_view bytes,
                                            std::size_t size) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(size, bytes.size()))) {
    if (auto refusal = screen.feed(bytes.substr(0, size))) return refusal;
  }
  return std::nullopt;
}

std::string escaped(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += c == '\r' ? "\\r" : c == '\n' ? "\\n" : std::string(1, c);
  return text;
}

TEST(RequestScreen, SeesAStrayCarriageReturnBeforeTheEmptyLineHoweverItComes) {
  constexpr std::string_view kBytes = "PUSH /a HTTP/1.1\r\nx: y\r\r\n\r\n";
  for (const std::size_t portion : {std::size_t{1}, kBytes.size()}) {
    RequestScreen screen(kLimits);
    const auto refusal = feed_in_pieces(screen, kBytes, portion);
    ASSERT_TRUE(refusal);
    EXPECT_THAT(refusal->error.message, ::testing::HasSubstr("end with CR LF"));
  }
}

TEST(RequestScreen, RefusesMalformedRequestsHoweverTheyAreCut) {
  for (const auto& sample : testing::kMalformedHeads) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{3}, std::size_t{100'000}}) {
      SCOPED_TRACE(escaped(sample.bytes) + " by " + std::to_string(size));
      RequestScreen screen(kLimits);
      const auto refusal = feed_in_pieces(screen, sample.bytes, size);
      ASSERT_TRUE(refusal.has_value());
      EXPECT_EQ(refusal->http_status, sample.http_status);
      EXPECT_FALSE(refusal->error.message.empty());
    }
  }
}

TEST(RequestScreen, CountsRequestsHoweverTheyAreCut) {
  const std::string requests =
      "GET / HTTP/1.1\r\n\r\n"
      "POST /a HTTP/1.0\r\nContent-Length: 5\r\nCONTENT-LENGTH: 5\r\n\r\nhello"
      "POST /b HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n"
      "0\r\n\r\n"
      "PUT http://localhost/ HTTP/1.1\r\nContent-Length: 0\r\nExpect: 100-continue\r\nUpgrade: "
      "h2c\r\n\r\n";
  for (std::size_t size = 1; size <= requests.size(); ++size) {
    RequestScreen screen(kLimits);
    const auto refusal = feed_in_pieces(screen, requests, size);
    ASSERT_FALSE(refusal.has_value()) << refusal->error.message << " by " << size;
    EXPECT_EQ(screen.completed(), 4U);
    EXPECT_FALSE(screen.inside());
    EXPECT_EQ(screen.pending(), 0U);
  }
}

TEST(RequestScreen, KnowsWhetherItIsInsideARequest) {
  RequestScreen screen(kLimits);
  EXPECT_FALSE(screen.inside());
  screen.feed("G");
  EXPECT_TRUE(screen.inside());
  EXPECT_EQ(screen.pending(), 1U);
  screen.feed("ET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
  EXPECT_TRUE(screen.inside());
  screen.feed("abc");
  EXPECT_FALSE(screen.inside());
  EXPECT_EQ(screen.completed(), 1U);
}

TEST(RequestScreen, AHeadMayHaveItsLimitAndNoByteMore) {
  const std::string begin = "GET / HTTP/1.1\r\nA: ";
  const std::string end = "\r\n\r\n";
  const std::string fits(kLimits.max_head - begin.size() - end.size(), 'x');
  EXPECT_FALSE(RequestScreen(kLimits).feed(begin + fits + end).has_value());
  const auto refusal = RequestScreen(kLimits).feed(begin + fits + "x" + end);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->http_status, 431);
  // Without end: known as soon as it is too much.
  RequestScreen screen(kLimits);
  EXPECT_EQ(feed_in_pieces(screen, begin + std::string(5000, 'x'), 1)->http_status, 431);
}

TEST(RequestScreen, ABodyMayHaveItsLimitAndNoByteMore) {
  const auto head = [](std::size_t size) {
    return "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  };
  EXPECT_FALSE(RequestScreen(kLimits).feed(head(kLimits.max_body)).has_value());
  EXPECT_EQ(RequestScreen(kLimits).feed(head(kLimits.max_body + 1))->http_status, 413);
}

TEST(RequestScreen, ChunksCountTogether) {
  RequestScreen screen(kLimits);
  const std::string chunk = "1000\r\n" + std::string(0x1000, 'x') + "\r\n";
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  ASSERT_FALSE(screen.feed(head + chunk + chunk).has_value());
  const auto refusal = screen.feed(chunk);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->http_status, 413);
}

TEST(RequestScreen, ARefusalCarriesTheRequestIdWhenItIsKnownAndGood) {
  const auto id_of = [](const std::string& headers) {
    return RequestScreen(kLimits)
        .feed("POST / HTTP/1.1\r\n" + headers + "Content-Length: 99999\r\n\r\n")
        ->request_id;
  };
  EXPECT_EQ(id_of("X-Request-ID:  abc \r\n"), "abc");
  EXPECT_EQ(id_of("X-Request-Id: a b\r\n"), "");
  EXPECT_EQ(id_of(""), "");
}

TEST(RequestScreen, AChunkSizeLineIsBounded) {
  RequestScreen screen(kLimits);
  const auto refusal = feed_in_pieces(
      screen, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;" + std::string(10'000, 'x'),
      7);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->http_status, 400);
}

}  // namespace
}  // namespace gogrid

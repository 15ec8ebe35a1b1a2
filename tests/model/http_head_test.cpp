#include "model/http_head.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

TEST(HttpHead, KeepsWhatIsUsed) {
  HttpHeadReader reader;
  for (const char* line : {"HTTP/1.1 206 Partial Content\r\n", "CONTENT-LENGTH: 10\r\n",
                           "Content-Range: bytes 0-9/20\r\n", "etag:\"abc\"\r\n",
                           "Location:  /x \r\n", "X-Other: y\r\n", "no colon\r\n", "\r\n"})
    EXPECT_TRUE(reader.line(line));
  EXPECT_EQ(reader.head().status, 206);
  EXPECT_EQ(reader.head().content_length, 10U);
  EXPECT_EQ(reader.head().content_range, "bytes 0-9/20");
  EXPECT_EQ(reader.head().etag, "\"abc\"");
  EXPECT_EQ(reader.head().location, "/x");
}

TEST(HttpHead, ForgetsAnInterimAnswer) {
  HttpHeadReader reader;
  reader.line("HTTP/1.1 103 Early Hints\r\n");
  reader.line("ETag: \"old\"\r\n");
  reader.line("HTTP/1.1 200 OK\r\n");
  EXPECT_EQ(reader.head().status, 200);
  EXPECT_EQ(reader.head().etag, "");
}

TEST(HttpHead, IsBounded) {
  HttpHeadReader reader;
  const std::string line = "X-Filler: " + std::string(1014, 'x');
  int lines = 0;
  while (reader.line(line) && lines < 1000) ++lines;
  EXPECT_EQ(lines, 64);
}

TEST(HttpHead, AWeakTagIsNoVersion) {
  HttpHead head;
  head.etag = "W/\"abc\"";
  EXPECT_EQ(head.validator(), "");
  head.last_modified = "Sat, 28 Nov 2026 12:00:00 GMT";
  EXPECT_EQ(head.validator(), head.last_modified);
  head.etag = "\"abc\"";
  EXPECT_EQ(head.validator(), "\"abc\"");
}

TEST(ContentRange, IsReadStrictly) {
  const auto range = parse_content_range("bytes 10-19/40");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->range, (ByteRange{10, 20}));
  EXPECT_EQ(range->size, 40U);
  EXPECT_FALSE(parse_content_range("bytes 10-19/*")->size);
  for (const char* text :
       {"", "bytes", "bytes */40", "bytes 10-9/40", "bytes 10-40/40", "items 0-1/2", "bytes -1-2/3",
        "bytes 0-1/x", "bytes 0-1", "bytes 0/1-2", "bytes 0-18446744073709551615/*",
        "bytes 0-1/18446744073709551616", "bytes 0-1/99999999999999999999"})
    EXPECT_FALSE(parse_content_range(text)) << text;
}

TEST(HttpHead, WhatGetsIntoMessagesCommandsNoTerminal) {
  HttpHeadReader reader;
  ASSERT_TRUE(reader.line("HTTP/1.1 206 Partial Content\r\n"));
  ASSERT_TRUE(reader.line("Content-Range: bytes \x1b]0;pwned\x07 0-1/2\r\n"));
  ASSERT_TRUE(
      reader.line("Content-Encoding: \xC2\x9B"
                  "31m\xFF\r\n"));
  ASSERT_TRUE(reader.line("ETag: \"" + std::string(5000, 'x') + "\"\r\n"));
  EXPECT_EQ(reader.head().content_range, "bytes  ]0;pwned  0-1/2");
  EXPECT_EQ(reader.head().content_encoding, " 31m?");
  EXPECT_EQ(reader.head().etag.size(), 256U);
}

}  // namespace
}  // namespace gogrid

#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace gogrid {
namespace {

using ::testing::ElementsAre;

TEST(Text, IsCutIntoLinesAndWords) {
  std::string_view rest = "one two\n\n\tthree \r\nfour";
  std::vector<std::string> words;
  int lines = 0;
  for (; !rest.empty(); ++lines) {
    std::string_view line = next_line(rest);
    for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
      words.emplace_back(word);
    }
  }
  EXPECT_EQ(lines, 4);
  EXPECT_THAT(words, ElementsAre("one", "two", "three", "four"));
}

TEST(Text, IsTrimmedAtBothEnds) {
  EXPECT_EQ(trimmed(" \t a b \r\n"), "a b");
  EXPECT_EQ(trimmed(" \n\t"), "");
  EXPECT_EQ(trimmed(""), "");
}

TEST(Text, ANumberIsDigitsAndNothingElse) {
  EXPECT_EQ(parse_number("18446744073709551615"), 18446744073709551615U);
  EXPECT_EQ(parse_signed("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  for (const char* bad : {"", " 1", "1 ", "+1", "0x1", "1e3", "18446744073709551616"}) {
    EXPECT_FALSE(parse_number(bad)) << bad;
    EXPECT_FALSE(parse_signed(bad)) << bad;
  }
  EXPECT_FALSE(parse_number("-1"));
}

TEST(Text, AFieldIsWhatFollowsItsKeyAtTheBeginningOfALine) {
  constexpr std::string_view kText = "MemTotal:   16 kB\nNotMemFree: 1\nMemFree: 8 kB\nEmpty:";
  EXPECT_EQ(field_of(kText, "MemTotal:"), "16 kB");
  EXPECT_EQ(field_of(kText, "MemFree:"), "8 kB");
  EXPECT_EQ(field_of(kText, "Empty:"), "");
  EXPECT_FALSE(field_of(kText, "Swap:"));
}

TEST(Text, AnExcerptIsOnePrintableShortLine) {
  EXPECT_EQ(excerpt("a\x01z\nmore"), "\"a?z\"");
  EXPECT_EQ(excerpt(std::string(100, 'x')), '"' + std::string(40, 'x') + "…\"");
}

TEST(Text, WhatIsPrintableCommandsNoTerminal) {
  EXPECT_EQ(printable("plain é €", 60), "plain é €");
  EXPECT_EQ(printable("a\n\x1b[31mb\x7f", 60), "a  [31mb ");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m",
                      60),
            " 31m")
      << "CSI in one character";
  EXPECT_EQ(printable("a\u202Eb\u2028c", 60), "a b c");
  EXPECT_EQ(printable(std::string_view("a\0b", 3), 60), "a b");
}

TEST(Text, WhatIsPrintableIsUtf8AndCutBetweenCharacters) {
  EXPECT_EQ(printable("12345", 5), "12345");
  EXPECT_EQ(printable("1234é", 5), "1234");
  EXPECT_EQ(printable("123é", 5), "123é");
  // A continuation alone, a character that is not all there, one that is too long, a surrogate.
  EXPECT_EQ(printable("a\x9B"
                      "b",
                      60),
            "a?b");
  EXPECT_EQ(printable("a\xF0\x9F", 60), "a??");
  EXPECT_EQ(printable("\xC0\xAF", 60), "??");
  EXPECT_EQ(printable("\xED\xA0\x80", 60), "???");
}

}  // namespace
}  // namespace gogrid

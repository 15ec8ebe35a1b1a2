#include "batching/text_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "batching/delta_builder.h"
#include "support/fake_stage.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using testing::FakeVocabulary;
using ::testing::IsEmpty;

// All that comes out of `pieces`.
struct Whole {
  std::string text;
  bool stopped = false;
  bool operator==(const Whole&) const = default;
};

Whole assemble(const std::vector<std::string>& pieces, std::vector<std::string> stop = {}) {
  TextAssembler assembler(std::move(stop));
  Whole whole;
  for (const std::string& piece : pieces) {
    auto output = assembler.push(piece);
    whole.text += output.text;
    whole.stopped = output.stopped;
    if (whole.stopped) break;
  }
  auto rest = assembler.finish();
  whole.text += rest.text;
  whole.stopped = whole.stopped || rest.stopped;
  return whole;
}

// ---- the plain references: slow and obvious

// Lead byte's length, or 0; and what the second byte may be. Table 3-7 of the Unicode standard.
std::size_t character_length(const std::string& bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U;
  };
  const auto between = [](unsigned value, unsigned low, unsigned high) {
    return value >= low && value <= high;
  };
  const auto tail = [&](std::size_t i) { return between(byte(i), 0x80, 0xBF); };
  if (byte(0) < 0x80) return 1;
  if (between(byte(0), 0xC2, 0xDF) && tail(1)) return 2;
  const bool second3 = (byte(0) == 0xE0 && between(byte(1), 0xA0, 0xBF)) ||
                       (byte(0) == 0xED && between(byte(1), 0x80, 0x9F)) ||
                       ((between(byte(0), 0xE1, 0xEC) || between(byte(0), 0xEE, 0xEF)) && tail(1));
  if (second3 && tail(2)) return 3;
  const bool second4 = (byte(0) == 0xF0 && between(byte(1), 0x90, 0xBF)) ||
                       (between(byte(0), 0xF1, 0xF3) && tail(1)) ||
                       (byte(0) == 0xF4 && between(byte(1), 0x80, 0x8F));
  if (second4 && tail(2) && tail(3)) return 4;
  return 0;
}

// How many bytes one U+FFFD stands for: the longest beginning of a character, at least one byte.
std::size_t broken_length(const std::string& bytes, std::size_t at) {
  for (std::size_t length = std::min<std::size_t>(3, bytes.size() - at); length > 1; --length) {
    for (const char* tail : {"\x80", "\x80\x80"}) {
      const std::string completed = bytes.substr(at, length) + tail;
      if (character_length(completed, 0) == completed.size()) return length;
    }
  }
  return 1;
}

std::string decode(const std::string& bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    if (const std::size_t length = character_length(bytes, at); length > 0) {
      text += bytes.substr(at, length);
      at += length;
    } else {
      text += "\xEF\xBF\xBD";
      at += broken_length(bytes, at);
    }
  }
  return text;
}

// The stop string that ends first; of several that end there, the longest.
Whole reference(const std::string& bytes, const std::vector<std::string>& stops) {
  const std::string text = decode(bytes);
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      const bool here = !stop.empty() && stop.size() <= end &&
                        text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (here) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

// ---- UTF-8

TEST(TextAssembler, PassesPlainTextOn) {
  TextAssembler assembler({});
  EXPECT_EQ(assembler.push("Hello").text, "Hello");
  EXPECT_EQ(assembler.push(", world").text, ", world");
  EXPECT_EQ(assembler.finish().text, "");
}

TEST(TextAssembler, HoldsAnIncompleteCharacterBack) {
  TextAssembler assembler({});
  EXPECT_EQ(assembler.push("a\xE2").text, "a");
  EXPECT_EQ(assembler.push("\x82").text, "");
  EXPECT_EQ(assembler
                .push("\xAC"
                      "b")
                .text,
            "€b");
}

TEST(TextAssembler, GivesTheSameTextWhereverThePiecesBreak) {
  const std::string text = "aé€😀ñ\u07FF\u0800\uFFFF\U00010000\U0010FFFF z";
  for (std::size_t i = 0; i <= text.size(); ++i) {
    for (std::size_t j = i; j <= text.size(); ++j) {
      EXPECT_EQ(assemble({text.substr(0, i), text.substr(i, j - i), text.substr(j)}).text, text);
    }
  }
}

TEST(TextAssembler, NeverSendsHalfACharacter) {
  const std::string text = "aé€😀ñ";
  TextAssembler assembler({});
  for (const char byte : text) {
    const std::string sent = assembler.push({&byte, 1}).text;
    EXPECT_EQ(decode(sent), sent);
  }
}

struct Broken {
  std::string bytes;
  std::string text;
};
class BrokenBytes : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenBytes, ComeOutAsReplacementCharacters) {
  const auto& [bytes, text] = GetParam();
  EXPECT_EQ(decode(bytes), text) << "the reference";
  for (std::size_t i = 0; i <= bytes.size(); ++i) {
    EXPECT_EQ(assemble({bytes.substr(0, i), bytes.substr(i)}).text, text) << i;
  }
}

// Among them the examples of the Unicode standard, section 3.9, tables 3-8 to 3-11.
INSTANTIATE_TEST_SUITE_P(
    Cases, BrokenBytes,
    ::testing::Values(Broken{"\x80", "\uFFFD"}, Broken{"\xFF", "\uFFFD"}, Broken{"\xC3", "\uFFFD"},
                      Broken{"\xC3z", "\uFFFDz"}, Broken{"\xE2\x82", "\uFFFD"},
                      Broken{"\xE2\x82z", "\uFFFDz"}, Broken{"\xF0\x9F\x98", "\uFFFD"},
                      Broken{"\xF0\x9F\x98\xC3\xA9", "\uFFFDé"},
                      Broken{"\xE2\x82\xE2\x82\xAC", "\uFFFD€"},
                      Broken{"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41",
                             "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
                      Broken{"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41",
                             "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
                      Broken{"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42",
                             "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41\uFFFD\uFFFD\x42"},
                      Broken{"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41",
                             "\uFFFD\uFFFD\uFFFD\uFFFD\x41"}));

TEST(TextAssembler, DecodesEveryPairOfBytesAsTheReferenceDoes) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string bytes{static_cast<char>(a), static_cast<char>(b)};
      ASSERT_EQ(assemble({bytes}).text, decode(bytes)) << a << " " << b;
    }
  }
}

// ---- stop strings

TEST(TextAssembler, EndsBeforeAStopString) {
  EXPECT_EQ(assemble({"one STOP two"}, {"STOP"}), (Whole{"one ", true}));
}

TEST(TextAssembler, HoldsBackWhatMayBeTheBeginningOfAStopString) {
  TextAssembler assembler({"\n\nUser:"});
  EXPECT_EQ(assembler.push("fine\n").text, "fine");
  EXPECT_EQ(assembler.push("\nUs").text, "");
  EXPECT_EQ(assembler.push("age").text, "\n\nUsage");
}

TEST(TextAssembler, SendsWhatItHeldBackAtTheEnd) {
  TextAssembler assembler({"STOP"});
  EXPECT_EQ(assembler.push("go ST").text, "go ");
  EXPECT_EQ(assembler.finish().text, "ST");
}

TEST(TextAssembler, FindsAStopStringWhereverThePiecesBreak) {
  const std::string text = "ab€STOP€cd";
  for (std::size_t i = 0; i <= text.size(); ++i) {
    for (std::size_t j = i; j <= text.size(); ++j) {
      const auto whole =
          assemble({text.substr(0, i), text.substr(i, j - i), text.substr(j)}, {"€STOP€"});
      EXPECT_EQ(whole, (Whole{"ab", true})) << i << " " << j;
    }
  }
}

TEST(TextAssembler, FindsAStopStringThatBeginsInsideAFalseBeginning) {
  EXPECT_EQ(assemble({"aaab"}, {"aab"}), (Whole{"a", true}));
  EXPECT_EQ(assemble({"abab", "abac"}, {"ababac"}), (Whole{"ab", true}));
}

TEST(TextAssembler, TakesTheStopStringThatIsCompletedFirst) {
  EXPECT_EQ(assemble({"abcd"}, {"abcd", "bc"}), (Whole{"a", true}));
  EXPECT_EQ(assemble({"abc"}, {"bc", "abc"}), (Whole{"", true}));  // together: the longest
}

TEST(TextAssembler, IgnoresStopStringsThatCannotOccur) {
  EXPECT_EQ(assemble({"text"}, {""}), (Whole{"text", false}));
  EXPECT_EQ(assemble({"t\xC3\xA9xt"}, {"\xA9"}), (Whole{"téxt", false}));
}

TEST(TextAssembler, FindsAReplacementCharacterAsAStopString) {
  EXPECT_EQ(assemble({"ab\xFF", "cd"}, {"\uFFFD"}), (Whole{"ab", true}));
}

TEST(TextAssembler, GivesNothingAfterTheEnd) {
  TextAssembler assembler({"x"});
  EXPECT_TRUE(assembler.push("ax").stopped);
  EXPECT_EQ(assembler.push("more").text, "");
  EXPECT_FALSE(assembler.push("x").stopped);
  EXPECT_EQ(assembler.finish().text, "");
}

TEST(TextAssembler, CountsTheBytesThatAreOut) {
  TextAssembler assembler({"STOP"});
  assembler.push("abS");
  EXPECT_EQ(assembler.released(), 2U);
  assembler.push("T\xE2\x82");
  EXPECT_EQ(assembler.released(), 2U);
  assembler.push("\xAC");
  EXPECT_EQ(assembler.released(), 7U);
  assembler.push("zSTOP");
  EXPECT_EQ(assembler.released(), 8U);
}

TEST(TextAssembler, AgreesWithTheReferenceOnRandomBytesStopsAndBreaks) {
  std::mt19937 random(7);
  // Few symbols, so that stop strings begin often; broken bytes among them.
  const std::vector<std::string> symbols{"a",    "a",        "b",    "b",        "é", "€",
                                         "\xC3", "\xE2\x82", "\xA9", "\xF0\x9F", "😀"};
  const std::vector<std::string> stop_symbols{"a", "b", "a", "b", "é", "€", "\uFFFD"};
  const auto draw = [&](const auto& from, std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += from[random() % from.size()];
    return text;
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::string bytes = draw(symbols, random() % 16);
    std::vector<std::string> stops;
    for (std::size_t i = random() % 4; i > 0; --i)
      stops.push_back(draw(stop_symbols, random() % 5));
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t length = 1 + random() % 4;
      pieces.push_back(bytes.substr(at, length));
      at += length;
    }
    ASSERT_EQ(assemble(pieces, stops), reference(bytes, stops)) << ::testing::PrintToString(bytes);
  }
}

TEST(TextAssembler, SendsEverythingAsSoonAsItCan) {
  // What is held back is the beginning of a stop string or of a character, never more.
  std::mt19937 random(8);
  const std::vector<std::string> stops{"abab", "ba€"};
  for (int round = 0; round < 2000; ++round) {
    TextAssembler assembler(stops);
    std::string in;
    std::string out;
    for (int i = 0; i < 12; ++i) {
      const std::string piece = std::vector<std::string>{"a", "b", "€", "\xE2", "c"}[random() % 5];
      in += piece;
      const auto output = assembler.push(piece);
      out += output.text;
      if (output.stopped) break;
      const std::string held = decode(in).substr(out.size());
      std::size_t longest = 0;
      const std::string text = decode(in);
      for (const std::string& stop : stops) {
        for (std::size_t n = 1; n < stop.size(); ++n) {
          if (text.ends_with(stop.substr(0, n))) longest = std::max(longest, n);
        }
      }
      const bool incomplete = in.ends_with("\xE2");
      ASSERT_LE(held.size(), longest + (incomplete ? 3U + 3U : 0U)) << in;
    }
  }
}

// ---- tokens and their text

TokenEvent event(Token token) {
  return {.chosen = {.token = token, .logprob = 0, .bytes = {}}, .top = {}};
}

std::vector<Token> tokens_of(const Delta& delta) {
  std::vector<Token> tokens;
  for (const TokenEvent& e : delta.tokens) tokens.push_back(e.chosen.token);
  return tokens;
}

TEST(DeltaBuilder, SendsATokenWithTheLastByteOfItsText) {
  const FakeVocabulary vocabulary({{1, "a\xE2"}, {2, "\x82"}, {3, "\xAC"}});
  DeltaBuilder builder(vocabulary, {}, false);
  builder.push(event(1));
  auto delta = builder.take();
  EXPECT_EQ(delta.text, "a");
  EXPECT_THAT(tokens_of(delta), IsEmpty());
  builder.push(event(2));
  EXPECT_THAT(tokens_of(builder.take()), IsEmpty());
  builder.push(event(3));
  delta = builder.take();
  EXPECT_EQ(delta.text, "€");
  EXPECT_THAT(tokens_of(delta), ElementsAre(1, 2, 3));
}

TEST(DeltaBuilder, DropsTheTokensOfAStopString) {
  const FakeVocabulary vocabulary({{1, "go"}, {2, " ST"}, {3, "OP"}, {4, "!"}});
  DeltaBuilder builder(vocabulary, {"STOP"}, false);
  EXPECT_FALSE(builder.push(event(1)));
  EXPECT_FALSE(builder.push(event(2)));
  EXPECT_TRUE(builder.push(event(3)));
  const auto delta = builder.finish();
  EXPECT_EQ(delta.text, "go ");
  EXPECT_THAT(tokens_of(delta), ElementsAre(1, 2));  // 2 has a byte outside the stop string
}

TEST(DeltaBuilder, SendsTokensWithoutTextAtOnce) {
  const FakeVocabulary vocabulary({{1, ""}, {2, "x"}});
  DeltaBuilder builder(vocabulary, {"stop"}, false);
  builder.push(event(1));
  EXPECT_THAT(tokens_of(builder.take()), ElementsAre(1));
  builder.push(event(2));
  EXPECT_THAT(tokens_of(builder.take()), ElementsAre(2));
}

TEST(DeltaBuilder, SendsTheRestAtTheEnd) {
  const FakeVocabulary vocabulary({{1, "S"}, {2, "T\xE2"}});
  DeltaBuilder builder(vocabulary, {"STOP"}, false);
  builder.push(event(1));
  builder.push(event(2));
  const auto delta = builder.finish();
  EXPECT_EQ(delta.text, "ST\uFFFD");
  EXPECT_THAT(tokens_of(delta), ElementsAre(1, 2));
}

TEST(DeltaBuilder, FillsBytesOnlyWhenAsked) {
  const FakeVocabulary vocabulary({{1, "\xE2"}});
  for (const bool asked : {false, true}) {
    DeltaBuilder builder(vocabulary, {}, asked);
    TokenEvent with_top = event(1);
    with_top.top.push_back({.token = 2, .logprob = -1, .bytes = {}});
    builder.push(std::move(with_top));
    const auto delta = builder.finish();
    EXPECT_EQ(delta.tokens.at(0).chosen.bytes, asked ? "\xE2" : "");
    EXPECT_EQ(delta.tokens.at(0).top.at(0).bytes, asked ? "c" : "");
  }
}

TEST(DeltaBuilder, LosesNoTokenAndNoTextWhateverTheyAre) {
  std::mt19937 random(9);
  const std::map<Token, std::string> pieces{{1, "a"},        {2, "b"},  {3, ""},    {4, "\xE2"},
                                            {5, "\x82\xAC"}, {6, "ab"}, {7, "\xFF"}};
  const FakeVocabulary vocabulary(pieces);
  for (int round = 0; round < 5000; ++round) {
    DeltaBuilder builder(vocabulary, {"abba", "b\xE2\x82\xAC"}, false);
    std::vector<Token> sent;
    std::vector<Token> seen;
    std::string bytes;
    std::string text;
    bool stopped = false;
    const auto take = [&](const Delta& delta) {
      text += delta.text;
      for (const Token token : tokens_of(delta)) seen.push_back(token);
    };
    while (!stopped && sent.size() < 14) {
      const auto token = static_cast<Token>(1 + random() % 7);
      sent.push_back(token);
      bytes += pieces.at(token);
      stopped = builder.push(event(token));
      if (!stopped) take(builder.take());
    }
    take(builder.finish());
    ASSERT_EQ((Whole{text, stopped}), reference(bytes, {"abba", "b€"}));
    ASSERT_LE(seen.size(), sent.size());
    ASSERT_TRUE(std::ranges::equal(seen, std::span(sent).first(seen.size())));
    ASSERT_TRUE(stopped || seen == sent);
  }
}

}  // namespace
}  // namespace gogrid

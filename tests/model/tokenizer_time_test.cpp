// No text of a request's size keeps the tokenizer busy for long, whatever it is made of.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "model/tokenizer.h"
#include "support/slowness.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_vocabulary.h"

namespace gogrid {
namespace {

using testing::TinyToken;
using testing::TinyVocabularyFile;

// Instrumented builds read less: what they look for shows in little text too.
constexpr bool kInstrumented = testing::kSlowness > 1;
constexpr std::size_t kLongContext = kInstrumented ? 4096 : 131072;
// For a pre-tokenizer that libllama makes of regular expressions, and for thousands of special
// tokens, each of which it looks for: both cost some 30 us a token.
constexpr std::size_t kContext = kInstrumented ? 1024 : 16384;
// Some take four on a machine of 2.4 GHz; what reads a text again and again takes minutes.
constexpr std::chrono::seconds kLimit = std::chrono::seconds(8) * testing::kSlowness;

// Above the size of a body, and just below what is tokenized at once.
constexpr std::size_t kSizes[] = {std::size_t{8} << (kInstrumented ? 16 : 20),
                                  kInstrumented ? 20000 : TextCutter::kMaxPart - 64,
                                  kInstrumented ? 1000 : 16000};

const std::vector<TinyToken> kSpecials = {{"<|im_start|>", 3}, {"<|im_end|>", 3}, {"<think>", 4},
                                          {"~~", 4},           {"\n\n", 4},       {"\n\n\n", 4}};

std::string repeated(const std::string& unit, std::size_t size) {
  std::string text;
  while (text.size() < size) text += unit;
  return text;
}

// Both ways of reading it.
void expect_short(const Tokenizer& tokenizer, const std::string& unit, std::size_t context) {
  for (const std::size_t size : kSizes) {
    const std::string text = repeated(unit, size);
    for (const bool parse_special : {true, false}) {
      const auto begin = std::chrono::steady_clock::now();
      const auto tokens = tokenizer.tokenize(text, false, parse_special, context);
      const auto took = std::chrono::steady_clock::now() - begin;
      EXPECT_LT(took, kLimit) << ::testing::PrintToString(unit) << " up to " << size << " bytes";
      EXPECT_FALSE(tokens && tokens->size() > context);
    }
  }
}

const char* const kUnits[] = {
    "<|im_end|>", "<think>",      "~~",     "a",    " ",         "\n",    "ab c1. ", "<",
    "7",          "\xff",         "\xf0",   "😀",   "文",        "文。",  "é",       "\t",
    "<|im_",      "<|im_end|>\n", "word\n", "~~~;", "{\"a\":1}", "aaa~~", "= "};

void expect_all_short(const TinyVocabularyFile& file, std::size_t context) {
  const testing::TemporaryFolder folder;
  TinyVocabularyFile long_token = file;  // or most texts are too long at first sight
  long_token.tokens.push_back({std::string(256, '%')});
  write_vocabulary(folder / "v.gguf", long_token);
  const auto tokenizer = Tokenizer::load(folder / "v.gguf");
  ASSERT_TRUE(tokenizer);
  for (const char* unit : kUnits) expect_short(*tokenizer, unit, context);
}

TEST(TokenizerTime, BytePairs) {
  expect_all_short(testing::byte_pair_vocabulary("gpt-2", kSpecials), kLongContext);
}

TEST(TokenizerTime, BytePairsBehindARegularExpression) {
  expect_all_short(testing::byte_pair_vocabulary("gpt-4o", kSpecials), kContext);
}

TEST(TokenizerTime, SentencePieces) {
  expect_all_short(testing::sentence_piece_vocabulary(kSpecials), kLongContext);
}

TEST(TokenizerTime, SixThousandSpecialTokens) {
  std::vector<TinyToken> specials = kSpecials;
  for (int i = 0; i < 6000; ++i) specials.push_back({"<unused" + std::to_string(i) + ">", 3});
  expect_all_short(testing::sentence_piece_vocabulary(specials), kContext);
}

TEST(TokenizerTime, TheRealVocabulary) {
  if (testing::real_model().empty()) GTEST_SKIP() << "GOGRID_TEST_MODEL names no model";
  const auto tokenizer = Tokenizer::load(testing::real_model());
  ASSERT_TRUE(tokenizer);
  for (const char* unit : kUnits) expect_short(*tokenizer, unit, kLongContext);
}

}  // namespace
}  // namespace gogrid

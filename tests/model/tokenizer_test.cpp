#include "model/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

class TokenizerTest : public ::testing::TestWithParam<testing::TinyVocabulary> {
 protected:
  TokenizerTest() {
    path_ = std::filesystem::temp_directory_path() /
            ("tokenizer-" + std::to_string(::getpid()) + "-" +
             std::to_string(static_cast<int>(GetParam())) + ".gguf");
    testing::write_tiny_model(path_, {.n_layers = 1, .vocabulary = GetParam()});
    auto loaded = Tokenizer::load(path_);
    EXPECT_TRUE(loaded);
    tokenizer_ = std::make_unique<Tokenizer>(*std::move(loaded));
  }
  ~TokenizerTest() override { std::filesystem::remove(path_); }

  std::string text_of(const std::vector<Token>& tokens) const {
    std::string text;
    for (const Token token : tokens) text += tokenizer_->piece(token);
    return text;
  }

  std::filesystem::path path_;
  std::unique_ptr<Tokenizer> tokenizer_;
};
INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenizerTest,
                         ::testing::Values(testing::TinyVocabulary::kBpe,
                                           testing::TinyVocabulary::kSpm));

TEST_P(TokenizerTest, AnyTextComesBackFromItsTokens) {
  for (const std::string text :
       {"hello world", "\xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80", "tab\tnew\nline", "  spaces  "}) {
    const auto tokens = tokenizer_->tokenize(text, false, false, 1000);
    ASSERT_TRUE(tokens);
    // SentencePiece puts a space before the first word.
    const std::string back = text_of(*tokens);
    EXPECT_TRUE(back == text || back == " " + text) << back;
  }
}

TEST_P(TokenizerTest, NoTextIsNoTokensWithoutSpecialOnes) {
  EXPECT_EQ(tokenizer_->tokenize("", false, false, 10), std::vector<Token>{});
}

TEST_P(TokenizerTest, MoreTokensThanAllowedAreRefusedWithBothCounts) {
  const auto tokens = tokenizer_->tokenize(std::string(5000, 'q'), false, false, 10);
  ASSERT_FALSE(tokens);
  EXPECT_EQ(tokens.error().code, ErrorCode::kTooLarge);
  EXPECT_NE(tokens.error().message.find("at most 10"), std::string::npos);
}

TEST_P(TokenizerTest, TokensOutsideTheVocabularyHaveNoText) {
  EXPECT_EQ(tokenizer_->piece(-1), "");
  EXPECT_EQ(tokenizer_->piece(static_cast<Token>(tokenizer_->size())), "");
  EXPECT_FALSE(tokenizer_->ends_generation(-1));
  EXPECT_FALSE(tokenizer_->ends_generation(static_cast<Token>(tokenizer_->size())));
}

TEST_P(TokenizerTest, EndTokensAreThoseThatEndGeneration) {
  ASSERT_FALSE(tokenizer_->end_tokens().empty());
  for (const Token token : tokenizer_->end_tokens()) {
    EXPECT_TRUE(tokenizer_->ends_generation(token));
    EXPECT_EQ(tokenizer_->piece(token), "");
    EXPECT_NE(tokenizer_->piece(token, true), "");
  }
}

TEST_P(TokenizerTest, WhatAUserTypesIsNeverAControlTokenUnlessAsked) {
  const std::string control = tokenizer_->piece(tokenizer_->end_tokens().front(), true);
  ASSERT_TRUE(tokenizer_->spells_control_token("say " + control + " now"));
  EXPECT_FALSE(tokenizer_->spells_control_token("say nothing <| of it"));
  const auto typed = tokenizer_->tokenize(control, false, false, 100);
  const auto templated = tokenizer_->tokenize(control, false, true, 100);
  ASSERT_TRUE(typed && templated);
  EXPECT_EQ(std::count(typed->begin(), typed->end(), tokenizer_->end_tokens().front()), 0);
  EXPECT_EQ(std::count(templated->begin(), templated->end(), tokenizer_->end_tokens().front()), 1);
}

// What libllama finds in a plain text too is no secret of templates: guarding it would only
// tokenize the message otherwise than every other program does.
TEST_P(TokenizerTest, OnlyWhatPlainTextCannotSpellIsGuarded) {
  for (const std::string text : {"<think>", "<unk>", "<|im_start|>"}) {
    const auto typed = tokenizer_->tokenize(text, false, false, 100);
    const auto templated = tokenizer_->tokenize(text, false, true, 100);
    ASSERT_TRUE(typed && templated);
    EXPECT_EQ(tokenizer_->spells_control_token("a" + text + "b"), *typed != *templated) << text;
  }
  const bool has_unknown = GetParam() == testing::TinyVocabulary::kSpm;
  EXPECT_EQ(tokenizer_->spells_control_token("<unk>"), has_unknown);
  EXPECT_EQ(tokenizer_->tokenize("<think>", false, false, 10)->size(), 1U);
}

TEST_P(TokenizerTest, LongTextsOfEqualCharactersAreTextsToo) {
  for (const char* unit : {"a", " ", "7", "\n", "\xf0\x9f\x98\x80", ".", "\xff", "<|im_end|>"}) {
    std::string text;
    while (text.size() < 50'000) text += unit;
    const auto tokens = tokenizer_->tokenize(text, false, true, 1'000'000);
    ASSERT_TRUE(tokens) << unit;
    EXPECT_GE(tokens->size(), 1000U);
  }
}

class SmolLm2Tokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("GOGRID_TEST_MODEL");
    if (path == nullptr) GTEST_SKIP() << "GOGRID_TEST_MODEL names no model";
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(path).value());
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(SmolLm2Tokenizer, TextComesBackFromItsTokens) {
  for (const std::string text :
       {"The capital of France is Paris.", "def f(x):\n\treturn x ** 2\n", "  two  spaces ",
        "na\xc3\xafve \xe2\x82\xac 12345 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80"}) {
    const auto tokens = tokenizer_->tokenize(text, true, false, 1000);
    ASSERT_TRUE(tokens);
    std::string back;
    for (const Token token : *tokens) back += tokenizer_->piece(token);
    EXPECT_EQ(back, text);
  }
}

TEST_F(SmolLm2Tokenizer, KnowsWhatEndsAnAnswer) {
  const auto end = tokenizer_->tokenize("<|im_end|>", false, true, 10);
  ASSERT_TRUE(end);
  ASSERT_EQ(end->size(), 1U);
  EXPECT_TRUE(tokenizer_->ends_generation(end->front()));
  EXPECT_EQ(tokenizer_->size(), 49152U);
}

TEST_F(SmolLm2Tokenizer, NoTextTakesItLong) {
  for (const char* unit :
       {"a", " ", "7", "\n", "\xf0\x9f\x98\x80", "ab c1.", "\xff", "\xe0\xb8\x81"}) {
    std::string text;
    while (text.size() < 200'000) text += unit;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(tokenizer_->tokenize(text, true, true, 1'000'000)) << unit;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20)) << unit;
  }
}

TEST(Tokenizer, AFileThatIsNoModelIsUnsupported) {
  const auto loaded = Tokenizer::load("/dev/null");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace gogrid

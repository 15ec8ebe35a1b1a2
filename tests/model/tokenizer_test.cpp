#include "model/tokenizer.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(tokens.error().code, ErrorCode::kInvalidArgument);
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

TEST(Tokenizer, AFileThatIsNoModelIsUnsupported) {
  const auto loaded = Tokenizer::load("/dev/null");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace gogrid

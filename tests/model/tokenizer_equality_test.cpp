// The tokens of a text in parts are libllama's for the whole text, whatever the text and the kind
// of vocabulary.
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/tokenizer.h"
#include "support/slowness.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_vocabulary.h"

namespace gogrid {
namespace {

using testing::byte_pair_vocabulary;
using testing::line_vocabulary;
using testing::sentence_piece_vocabulary;
using testing::TinyToken;
using testing::TinyVocabularyFile;

const std::vector<TinyToken> kUsual = {
    {"<|im_start|>", 3}, {"<|im_end|>", 3}, {"<think>", 4}, {"</think>", 4}};
// They overlap, nest, begin and end with what others do, and with whitespace.
const std::vector<TinyToken> kTangled = {
    {"<a>", 4},  {"><a", 3},    {"a>", 4},  {"<a><a>", 3}, {"<|im_end|>", 3}, {"|>", 4},
    {"\n\n", 4}, {"\n\n\n", 4}, {"   ", 4}, {"文中", 4},   {"ж", 3},          {"жж", 4},
    {">\n", 3},  {" <", 4},     {"1,", 4},  {"end.", 3},   {".\n", 4}};

// libllama's own answer for an uncut text.
class Reference {
 public:
  explicit Reference(const std::filesystem::path& path) : model_(nullptr, &llama_model_free) {
    llama_model_params parameters = llama_model_default_params();
    parameters.vocab_only = true;
    model_.reset(llama_model_load_from_file(path.c_str(), parameters));
  }
  std::vector<Token> tokens(const std::string& text, bool add, bool parse) const {
    std::vector<Token> tokens(4 * text.size() + 16);
    const int count = llama_tokenize(llama_model_get_vocab(model_.get()), text.data(),
                                     static_cast<std::int32_t>(text.size()), tokens.data(),
                                     static_cast<std::int32_t>(tokens.size()), add, parse);
    EXPECT_GE(count, 0);
    tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
    return tokens;
  }

 private:
  std::unique_ptr<llama_model, decltype(&llama_model_free)> model_;
};

const std::string kAtoms[] = {" ",
                              " ",
                              "\n",
                              "\n",
                              "\t",
                              "\r",
                              "a",
                              "a",
                              "the",
                              "e",
                              "Z",
                              "1",
                              "12",
                              "123",
                              ".",
                              ",",
                              ";",
                              "!",
                              "?",
                              "'s",
                              "'t",
                              "'",
                              "\"",
                              "(",
                              ")",
                              "/",
                              "-",
                              "_",
                              "=",
                              "+",
                              "#",
                              "@",
                              "*",
                              "&",
                              "[",
                              "]",
                              "{",
                              "}",
                              ":",
                              "<",
                              ">",
                              "|",
                              "中",
                              "文",
                              "。",
                              "，",
                              "あ",
                              "ア",
                              "한",
                              "é",
                              "e\u0301",
                              "\u0300",
                              "я",
                              "ก",
                              "\u0e48",
                              "😀",
                              "\u00a0",
                              "\u3000",
                              "\u2028",
                              "\u2581",
                              "\u200d",
                              "ß",
                              "٣",
                              "²",
                              "\xff",
                              "\xe4",
                              "\x80",
                              "\xf0\x9f",
                              "\xc3",
                              "  ",
                              "\n\n",
                              "\x01",
                              std::string(1, '\0')};

class TextMaker {
 public:
  TextMaker(std::uint32_t seed, const std::vector<TinyToken>& specials) : random_(seed) {
    for (const TinyToken& special : specials) specials_.push_back(special.text);
  }

  std::string text() {
    // Few kinds of atoms a text, so that they meet often.
    std::vector<std::string> atoms;
    for (std::size_t kinds = 1 + below(8); atoms.size() < kinds;) {
      atoms.push_back(kAtoms[below(std::size(kAtoms))]);
    }
    for (std::size_t kinds = below(4); kinds > 0; --kinds) {
      std::string special = specials_[below(specials_.size())];
      if (below(4) == 0) special.pop_back();
      atoms.push_back(special);
    }
    std::string text;
    for (std::size_t count = below(60); count > 0; --count) text += atoms[below(atoms.size())];
    return text;
  }
  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  std::mt19937 random_;
  std::vector<std::string> specials_;
};

// Both answers for many texts; stops at the first that differs.
void expect_equal(const std::filesystem::path& path, const std::vector<TinyToken>& specials,
                  std::size_t texts, const std::string& what) {
  const Reference reference(path);
  TextMaker maker(7, specials);
  for (const std::size_t part : {1, 2, 5, 16}) {
    const auto tokenizer = Tokenizer::load(path, part);
    ASSERT_TRUE(tokenizer) << what;
    for (std::size_t i = 0; i < texts / testing::kSlowness; ++i) {
      const std::string text = maker.text();
      for (const auto& [add, parse] : {std::pair{false, true}, {false, false}, {true, true}}) {
        const auto tokens = tokenizer->tokenize(text, add, parse, 100'000);
        ASSERT_TRUE(tokens) << what;
        ASSERT_EQ(*tokens, reference.tokens(text, add, parse))
            << what << ", parts of " << part << ", " << (parse ? "template" : "plain") << " text "
            << ::testing::PrintToString(text);
      }
    }
  }
}

void expect_equal(const TinyVocabularyFile& file, const std::vector<TinyToken>& specials,
                  const std::string& what, std::size_t texts = 500) {
  const testing::TemporaryFolder folder;
  write_vocabulary(folder / "v.gguf", file);
  expect_equal(folder / "v.gguf", specials, texts, what);
}

TEST(TokenizerEquality, BytePairsOfAnyPreTokenizer) {
  std::size_t known = 0;
  for (const char* pre :
       {"default",         "llama-bpe",   "falcon3",     "lfm2",       "deepseek-llm",
        "deepseek-coder",  "deepseek-v3", "falcon",      "mpt",        "starcoder",
        "gpt-2",           "phi-2",       "refact",      "command-r",  "qwen2",
        "qwen35",          "stablelm2",   "olmo",        "dbrx",       "smaug-bpe",
        "poro-chat",       "glm4",        "chatglm-bpe", "viking",     "jais",
        "tekken",          "smollm",      "codeshell",   "bloom",      "gpt3-finnish",
        "exaone",          "exaone4",     "exaone-moe",  "chameleon",  "minerva-7b",
        "gpt-4o",          "llama4",      "tiny_aya",    "superbpe",   "trillion",
        "granite-docling", "bailingmoe",  "seed-coder",  "hunyuan",    "hunyuan-dense",
        "joyai-llm",       "kimi-k2",     "grok-2",      "afmoe",      "laguna",
        "minimax-m2",      "solar-open",  "youtu",       "sarvam-moe", "minicpm5",
        "jais-2",          "mellum2",     "gigachat",    "a.x-4.0"}) {
    const testing::TemporaryFolder folder;
    write_vocabulary(folder / "v.gguf", byte_pair_vocabulary(pre, kUsual));
    if (!Tokenizer::load(folder / "v.gguf")) continue;  // not of this libllama
    ++known;
    expect_equal(folder / "v.gguf", kUsual, 100, pre);
  }
  EXPECT_GE(known, 40U);
}

TEST(TokenizerEquality, SentencePieces) {
  for (const bool adds_space : {true, false}) {
    TinyVocabularyFile file = sentence_piece_vocabulary(kUsual);
    file.adds_space = adds_space;
    file.adds_begin = true;
    file.adds_end = adds_space;
    expect_equal(file, kUsual, adds_space ? "with a space before" : "without a space before", 1500);
  }
}

TEST(TokenizerEquality, MergesOverWholeLines) {
  std::vector<TinyToken> usual = kUsual;
  usual.push_back({"\n\n", 4});
  expect_equal(line_vocabulary(usual), usual, "lines");
  expect_equal(line_vocabulary(kTangled), kTangled, "lines, tangled");
}

TEST(TokenizerEquality, SpecialTokensThatOverlap) {
  for (const char* pre : {"gpt-2", "llama-bpe", "gpt-4o", "deepseek-v3"}) {
    expect_equal(byte_pair_vocabulary(pre, kTangled), kTangled, pre);
  }
  expect_equal(sentence_piece_vocabulary(kTangled), kTangled, "pieces", 1500);
}

// libllama lets the tokens of a model of that name take whitespace along, but for some that must be
// there.
TEST(TokenizerEquality, SpecialTokensThatTakeWhitespaceAlong) {
  for (const auto* specials : {&kUsual, &kTangled}) {
    for (TinyVocabularyFile file :
         {sentence_piece_vocabulary(*specials), byte_pair_vocabulary("gpt-2", *specials)}) {
      file.name = "Phi-3";
      for (const char* text : {"<unk>", "<s>", "</s>", "<|endoftext|>"}) {
        if (!std::ranges::contains(file.tokens, text, &TinyToken::text)) {
          file.tokens.push_back({text, 3});
        }
      }
      expect_equal(file, *specials, file.kind, 1500);
    }
  }
}

TEST(TokenizerEquality, BeginAndEndTokensOfEitherKind) {
  for (const bool begin : {true, false}) {
    for (const bool end : {true, false}) {
      TinyVocabularyFile file = byte_pair_vocabulary("gpt-2", kUsual);
      file.adds_begin = begin;
      file.adds_end = end;
      expect_equal(file, kUsual, "gpt-2", 100);
    }
  }
}

TEST(TokenizerEquality, TheRealVocabulary) {
  if (testing::real_model().empty()) GTEST_SKIP() << "GOGRID_TEST_MODEL names no model";
  expect_equal(testing::real_model(), kUsual, 2000, "the real model");
}

}  // namespace
}  // namespace gogrid

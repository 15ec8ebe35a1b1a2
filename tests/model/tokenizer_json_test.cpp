#include "model/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "model/pre_tokenizers.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

Json byte_pairs() {
  return Json::parse(R"({
    "normalizer": null, "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}, {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

Json pieces() {
  return Json::parse(R"({
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null, "added_tokens": [],
    "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
              "vocab": {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3}, "merges": [["▁", "a"]]}})");
}

Json word_pieces() {
  return Json::parse(R"({
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "continuing_subword_prefix": "##", "unk_token": "[UNK]",
              "vocab": {"[UNK]": 0, "a": 1, "##b": 2}}})");
}

Result<TokenizerDefinition> parse(const Json& json) {
  return parse_tokenizer_json(json.dump(), "x");
}

Error refusal(const Json& json) {
  const auto parsed = parse(json);
  EXPECT_FALSE(parsed) << json;
  return parsed ? Error{} : parsed.error();
}

TEST(TokenizerJson, BytePairsAreReadWithTheirTemplate) {
  const auto parsed = parse(byte_pairs());
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->kind, TokenizerKind::kBytePairs);
  EXPECT_EQ(parsed->pre, "gpt-2");
  EXPECT_EQ(parsed->vocabulary.size(), 3U);
  EXPECT_THAT(parsed->merges, ElementsAre(Pair("a", "b")));
  ASSERT_EQ(parsed->added.size(), 1U);
  EXPECT_TRUE(parsed->added[0].special);
  EXPECT_TRUE(parsed->has_template);
  EXPECT_EQ(parsed->first, "<s>");
  EXPECT_EQ(parsed->last, "");
  EXPECT_FALSE(parsed->composes);
}

TEST(TokenizerJson, CharactersAreComposedWhereTheFileSaysSo) {
  Json json = byte_pairs();
  json["normalizer"] = {{"type", "NFC"}};
  ASSERT_TRUE(parse(json));
  EXPECT_TRUE(parse(json)->composes);
  json["normalizer"] = {{"type", "NFKC"}};
  EXPECT_EQ(refusal(json).code, ErrorCode::kUnsupported);
}

TEST(TokenizerJson, PiecesMarkSpacesInOneOfThreeWays) {
  EXPECT_TRUE(parse(pieces())->space_prefix);
  Json json = pieces();
  json["normalizer"] = json["normalizer"]["normalizers"][1];
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", " "}}}};
  EXPECT_FALSE(parse(json)->space_prefix);
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  EXPECT_TRUE(parse(json)->space_prefix);
  json["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_FALSE(parse(json)->space_prefix);
  json["pre_tokenizer"]["split"] = true;
  EXPECT_EQ(refusal(json).code, ErrorCode::kUnsupported);
}

TEST(TokenizerJson, AccentsGoWhereCapitalsGoUnlessTheFileSaysOtherwise) {
  EXPECT_TRUE(parse(word_pieces())->strip_accents);
  Json json = word_pieces();
  json["normalizer"]["lowercase"] = false;
  EXPECT_FALSE(parse(json)->strip_accents);
  json["normalizer"]["strip_accents"] = true;
  EXPECT_TRUE(parse(json)->strip_accents);
}

TEST(TokenizerJson, UnknownDefinitionsAreRefusedAndShown) {
  using Edit = void (*)(Json&);
  const std::vector<std::pair<Edit, std::string>> cases{
      {[](Json& j) { j["model"]["type"] = "Unigram"; },
       "of type BPE or WordPiece: \"\"Unigram\"\""},
      {[](Json& j) { j["model"]["dropout"] = 0.1; }, "expected no dropout"},
      {[](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
       "expected no end_of_word_suffix"},
      {[](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; }, "libllama has an equal of"},
      {[](Json& j) { j["model"]["ignore_merges"] = true; }, "libllama has an equal of"},
      {[](Json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; }, "byte_fallback"},
      {[](Json& j) { j["normalizer"] = {{"type", "Lowercase"}}; }, "no normalizer, or NFC"}};
  for (const auto& [edit, says] : cases) {
    Json json = byte_pairs();
    edit(json);
    EXPECT_EQ(refusal(json).code, ErrorCode::kUnsupported) << says;
    EXPECT_THAT(refusal(json).message, HasSubstr(says));
  }
}

TEST(TokenizerJson, BrokenOnesAreRefusedInTheirOwnWords) {
  using Edit = void (*)(Json&);
  const std::vector<std::pair<Edit, std::string>> cases{
      {[](Json& j) { j = Json::array(); }, "expected an object"},
      {[](Json& j) { j["model"]["vocab"] = Json::array(); }, "expected a vocab"},
      {[](Json& j) { j["model"]["vocab"] = Json::object(); }, "expected a vocab"},
      {[](Json& j) { j["model"]["vocab"]["a"] = -1; }, "expected an id below"},
      {[](Json& j) { j["model"]["vocab"]["a"] = 1U << 20; }, "expected an id below"},
      {[](Json& j) { j["model"]["vocab"]["a"] = 1; }, "an id of its own"},
      {[](Json& j) { j["model"]["vocab"][""] = 9; }, "a text of 1 to"},
      {[](Json& j) { j["model"]["vocab"][std::string(5000, 'a')] = 9; }, "a text of 1 to"},
      {[](Json& j) { j["model"].erase("merges"); }, "expected merges"},
      {[](Json& j) { j["model"]["merges"][0] = "ab"; }, "merge 0: expected two texts"},
      {[](Json& j) { j["model"]["merges"][0] = "a b c"; }, "merge 0: expected two texts"},
      {[](Json& j) { j["model"]["merges"][0] = {"a"}; }, "merge 0: expected two texts"},
      {[](Json& j) { j["model"]["merges"][0] = 7; }, "merge 0: expected two texts"},
      {[](Json& j) { j["added_tokens"][0]["id"] = -5; }, "added token: expected an id"},
      {[](Json& j) { j["added_tokens"][0].erase("content"); }, "added token: expected an id"},
      {[](Json& j) { j["added_tokens"][0] = "x"; }, "added token: expected an id"}};
  for (const auto& [edit, says] : cases) {
    Json json = byte_pairs();
    edit(json);
    EXPECT_EQ(refusal(json).code, ErrorCode::kCorrupt) << says;
    EXPECT_THAT(refusal(json).message, StartsWith("[tokenizer.json] x: "));
    EXPECT_THAT(refusal(json).message, HasSubstr(says));
  }
}

TEST(PreTokenizers, TheSameStepsHaveTheSameForm) {
  const auto steps = [](const char* text) { return canonical_pre_tokenizer(Json::parse(text)); };
  const std::string one = steps(R"({"type":"ByteLevel","add_prefix_space":false})");
  EXPECT_EQ(one, steps(R"({"type":"Sequence","pretokenizers":[
      {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true}]})"));
  EXPECT_EQ(pre_tokenizer_named(one, false), "gpt-2");
  EXPECT_EQ(pre_tokenizer_named(one, true), "");
  EXPECT_EQ(steps("null"), "");
  EXPECT_NE(steps(R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated"})"),
            steps(R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed"})"));
  EXPECT_NE(
      steps(R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated"})"),
      steps(R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated","invert":true})"));
}

}  // namespace
}  // namespace gogrid

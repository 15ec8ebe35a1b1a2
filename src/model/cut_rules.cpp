#include "model/cut_rules.h"

#include <llama.h>

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace gogrid {
namespace {

constexpr unsigned kTemplatesOnly = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;

// Empty when the file has none.
std::string metadata(const llama_model* model, const char* key) {
  std::string value(64, '\0');
  const std::int32_t size = llama_model_meta_val_str(model, key, value.data(), value.size());
  if (size < 0 || static_cast<std::size_t>(size) >= value.size()) return {};
  value.resize(static_cast<std::size_t>(size));
  return value;
}

// Pre-tokenizers are regular expressions, some of them many. Common to those of a list is that each
// one ends a match between a letter or digit and any of the list's stops, and looks no further.
// Tried one by one in tests/model/tokenizer_equality_test.cpp; those not named here are cut behind
// special tokens only.
struct Family {
  std::string_view stops;
  bool cjk_stops;
  bool any_before_space;  // each one matches all whitespace, and none of it behind something else
  std::initializer_list<std::string_view> names;
};

constexpr std::string_view kPunctuation = " \n\r\t.,;!?()[]{}\"/=+-*&#@";

const Family kFamilies[] = {
    {kPunctuation,
     true,
     true,
     {"llama3",
      "llama-v3",
      "llama-bpe",
      "falcon3",
      "falcon-h1",
      "pixtral",
      "midm-2.0",
      "lfm2",
      "dbrx",
      "smaug-bpe",
      "chatglm-bpe",
      "glm4",
      "qwen2",
      "deepseek-r1-qwen",
      "kormo",
      "megrez",
      "stablelm2",
      "hunyuan",
      "solar-open",
      "qwen35",
      "grok-2",
      "bailingmoe",
      "bailingmoe2",
      "llada-moe",
      "seed-coder",
      "gpt-2",
      "phi-2",
      "mpt",
      "olmo",
      "jais",
      "trillion",
      "granite-docling",
      "gigachat",
      "a.x-4.0",
      "mellum",
      "exaone4",
      "starcoder",
      "refact",
      "command-r",
      "smollm",
      "codeshell",
      "exaone",
      "minerva-7b",
      "default",
      "",
      "falcon",
      "deepseek-v3",
      "hunyuan-dense",
      "joyai-llm",
      "gpt-4o",
      "llama4",
      "kanana2",
      "minimax-m2",
      "tekken",
      "youtu",
      "kimi-k2"}},
    // Some letters are in no match, and a space between them in none either.
    {kPunctuation, true, false, {"deepseek-llm", "deepseek-coder"}},
    // Only spaces, line ends and some punctuation end a word.
    {" \n", false, false, {"poro-chat", "bloom", "gpt3-finnish", "viking"}},
    // Merges go over whole lines.
    {"\n", false, false, {"gemma4", "sarvam-moe", "exaone-moe", "laguna"}},
};

void add_byte_pair_rules(const llama_model* model, CutRules& rules) {
  const std::string kind = metadata(model, "tokenizer.ggml.model");
  if (kind != "gpt2" && kind != "gemma4") return;
  const std::string name = kind == "gemma4" ? "gemma4" : metadata(model, "tokenizer.ggml.pre");
  for (const Family& family : kFamilies) {
    if (!std::ranges::contains(family.names, name)) continue;
    rules.stops = family.stops;
    rules.cjk_stops = family.cjk_stops;
    rules.any_before_space = family.any_before_space;
  }
}

// Whether a merge could make `text`: of two characters or tokens.
bool has_halves(std::string_view text, const std::unordered_set<std::string_view>& all) {
  const auto is_half = [&](std::string_view half) {
    return character_at(half, 0).size() == half.size() || all.contains(half);
  };
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (is_half(text.substr(0, at)) && is_half(text.substr(at))) return true;
  }
  return false;
}

CharacterPairs read_pairs(const llama_vocab* vocabulary) {
  const std::int32_t count = llama_vocab_n_tokens(vocabulary);
  std::unordered_set<std::string_view> all;
  all.reserve(static_cast<std::size_t>(count));
  for (llama_token token = 0; token < count; ++token) {
    all.insert(llama_vocab_get_text(vocabulary, token));
  }
  CharacterPairs pairs;
  for (const std::string_view text : all) {
    // "<0x77>" and most special tokens are never made by merges: without them more can be cut.
    if (!text.starts_with('<') || has_halves(text, all)) pairs.add(text);
  }
  pairs.seal();
  return pairs;
}

}  // namespace

CutRules read_cut_rules(const llama_model* model) {
  const llama_vocab* vocabulary = llama_model_get_vocab(model);
  CutRules rules;
  const auto type = llama_vocab_type(vocabulary);
  rules.by_pairs = type == LLAMA_VOCAB_TYPE_SPM;
  if (type == LLAMA_VOCAB_TYPE_BPE) add_byte_pair_rules(model, rules);
  std::vector<SpecialText> specials;
  const std::int32_t count = llama_vocab_n_tokens(vocabulary);
  for (llama_token token = 0; token < count; ++token) {
    const std::string_view text = llama_vocab_get_text(vocabulary, token);
    const unsigned attributes = llama_vocab_get_attr(vocabulary, token);
    if ((attributes & (kTemplatesOnly | LLAMA_TOKEN_ATTR_USER_DEFINED)) == 0) continue;
    specials.push_back({.text = std::string(text),
                        .kind = (attributes & kTemplatesOnly) != 0 ? SpecialKind::kControl
                                                                   : SpecialKind::kUserDefined,
                        .strips_left = (attributes & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                        .strips_right = (attributes & LLAMA_TOKEN_ATTR_RSTRIP) != 0});
  }
  if (rules.by_pairs) rules.pairs = read_pairs(vocabulary);
  rules.specials = SpecialTexts(std::move(specials));
  return rules;
}

}  // namespace gogrid

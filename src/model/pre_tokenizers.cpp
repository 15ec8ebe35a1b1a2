#include "model/pre_tokenizers.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/format.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

struct PreTokenizer {
  std::string_view name;
  std::string_view canonical;
  bool ignores_merges = false;
};

// Patterns as published tokenizers of these families have them.
constexpr auto kPreTokenizers = std::to_array<PreTokenizer>({
    {"gpt-2", "bytes, words"},
    {"smollm", "digits\nbytes, words"},
    {"llama-bpe",
     R"(split isolated (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
     "\nbytes",
     true},
    {"dbrx",
     R"(split isolated (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
     "\nbytes"},
    {"qwen2",
     R"(split isolated (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
     "\nbytes"},
    {"tekken",
     R"(split isolated [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
     "\nbytes",
     true},
    {"gpt-4o",
     R"(split isolated [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
     "\nbytes"},
});

bool flag_of(const Json& object, const char* key, bool otherwise) {
  const auto found = object.find(key);
  return found == object.end() || !found->is_boolean() ? otherwise : found->get<bool>();
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || !found->is_string() ? std::string() : found->get<std::string>();
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string split_step(const Json& step) {
  const auto pattern = step.find("pattern");
  const std::string regex = pattern == step.end() ? std::string() : text_of(*pattern, "Regex");
  if (regex.empty() || flag_of(step, "invert", false)) return step.dump();
  return format_text("split {} {}", lower(text_of(step, "behavior")), regex);
}

std::string byte_step(const Json& step) {
  std::string text = "bytes";
  if (flag_of(step, "use_regex", true)) text += ", words";
  if (flag_of(step, "add_prefix_space", true)) text += ", space before";
  return text;
}

void append_steps(const Json& step, std::string& text) {
  if (!step.is_object()) return;
  const std::string type = text_of(step, "type");
  if (type == "Sequence") {
    const auto steps = step.find("pretokenizers");
    if (steps == step.end() || !steps->is_array()) return;
    for (const Json& inner : *steps) append_steps(inner, text);
    return;
  }
  if (!text.empty()) text += '\n';
  if (type == "Split") {
    text += split_step(step);
  } else if (type == "ByteLevel") {
    text += byte_step(step);
  } else if (type == "Digits") {
    text += flag_of(step, "individual_digits", false) ? "digits" : "numbers";
  } else {
    text += step.dump();
  }
}

}  // namespace

std::string canonical_pre_tokenizer(const Json& pre_tokenizer) {
  std::string text;
  append_steps(pre_tokenizer, text);
  return text;
}

std::string_view pre_tokenizer_named(std::string_view canonical, bool ignores_merges) {
  const auto same = [&](const PreTokenizer& one) {
    return one.canonical == canonical && one.ignores_merges == ignores_merges;
  };
  const auto found = std::ranges::find_if(kPreTokenizers, same);
  return found == kPreTokenizers.end() ? std::string_view() : found->name;
}

std::string_view pre_tokenizer_caveat(std::string_view name) {
  // It has no classes of capital and small letters for its patterns, and looks at fewer scripts.
  if (name != "tekken" && name != "gpt-4o") return {};
  return "texts with combining marks, and a few rare capitals, get other tokens than from the "
         "model's own tokenizer";
}

}  // namespace gogrid

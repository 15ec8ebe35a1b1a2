// tokenizer.json, as the library `tokenizers` writes it: read, and recognised by its definition as
// one of those that libllama has an equal of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/hf_vocabulary.h"

namespace gogrid {

enum class TokenizerKind : std::uint8_t {
  kBytePairs,  // pairs of bytes, behind a splitter
  kPieces,     // pairs of characters with bytes to fall back on, as SentencePiece has them
  kWordPiece,
};

struct TokenizerDefinition {
  TokenizerKind kind = TokenizerKind::kBytePairs;
  std::string pre;  // kBytePairs: libllama's name of the splitter
  std::vector<std::pair<std::string, std::uint32_t>> vocabulary;  // text and id, ids distinct
  std::vector<std::pair<std::string, std::string>> merges;        // best first
  std::vector<AddedToken> added;
  std::string unknown;        // the text of the token for what has none; may be empty
  bool space_prefix = false;  // kPieces
  bool composes = false;      // kBytePairs: characters of several code points become one (NFC)
  bool lowercase = true;      // kWordPiece
  bool strip_accents = true;  // kWordPiece
  // What stands around a text, if the file says so: the texts of special tokens, empty for none.
  bool has_template = false;
  std::string first;
  std::string last;
};

// kCorrupt "[tokenizer.json] NAME: what was expected: what came"; kUnsupported, with what it is,
// for a tokenizer that libllama has no equal of.
Result<TokenizerDefinition> parse_tokenizer_json(std::string_view text, std::string_view name);
Result<TokenizerDefinition> read_tokenizer_json(const std::filesystem::path& path);

}  // namespace gogrid

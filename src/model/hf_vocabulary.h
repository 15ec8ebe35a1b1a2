// The tokens of a model in the Hugging Face layout, as the keys of GGUF that libllama makes the
// same tokens of. Nothing of the folder is run: tokenizers are recognised by their definitions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/gguf_writer.h"
#include "model/hf_architectures.h"
#include "model/hf_config.h"

namespace gogrid {

// On-disk numbers of tokenizer.ggml.token_type.
enum class TokenKind : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct HfToken {
  std::string text;
  TokenKind kind = TokenKind::kUnused;
  float score = 0;
};

// A token beside the vocabulary proper.
struct AddedToken {
  std::uint32_t id = 0;
  std::string text;
  bool special = false;  // left out of texts that are shown
};

struct HfVocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2", "llama", "bert"
  std::string pre;    // tokenizer.ggml.pre: how texts are split before merging
  std::vector<HfToken> tokens;
  bool has_scores = false;
  std::vector<std::string> merges;  // "a b", best first
  std::optional<bool> space_prefix;
  bool composes = false;
  std::optional<bool> lowercase;
  std::optional<bool> strip_accents;
  // By role: "bos", "eos", "unk", "sep", "pad", "cls", "mask", "eot".
  std::map<std::string, std::uint32_t> special_ids;
  // By role, what a tokenizer puts around a text.
  std::map<std::string, bool> adds;
  // By name; the one that is used when nobody asks for another is "default".
  std::vector<std::pair<std::string, std::string>> chat_templates;
};

// `n_tokens` are the rows of the embeddings: the vocabulary is padded to as many, and tokens beyond
// them are noted and left out. kNotFound without tokenizer files, kUnsupported for a tokenizer that
// libllama has no equal of, kCorrupt for a broken one.
Result<HfVocabulary> read_vocabulary(const std::filesystem::path& folder,
                                     const HfArchitecture& architecture, const HfConfig& config,
                                     std::uint32_t n_tokens, std::vector<std::string>& notes);

void add_vocabulary_keys(const HfVocabulary& vocabulary, GgufKeys& keys);

}  // namespace gogrid

// Which models of the Hugging Face layout can be imported: a row each, that says what the model is
// called in GGUF, what its tensors are called there, and what is done to them on the way.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf_writer.h"
#include "model/hf_config.h"

namespace gogrid {

// A tensor's name there and here, without ".weight" or ".bias"; `{}` is the layer's number.
struct TensorRule {
  std::string_view hf;
  std::string_view gguf;
  bool required = true;
};

// What is written of a model besides its tensors and tokens, and what whoever imports it should
// know.
struct HfDescription {
  GgufKeys keys;
  std::vector<std::string> notes;
};

// Where the tokens come from.
enum class VocabularyKind : std::uint8_t {
  kText,  // byte-pairs or SentencePiece, whichever files the folder has
  kBert,  // WordPiece
};

struct HfArchitecture {
  std::string_view hf;    // the class in config.json
  std::string_view gguf;  // general.architecture
  std::span<const TensorRule> rules;
  // Adds the keys of the architecture; what is wrong with the file is config.status()'s to say.
  void (*describe)(const HfConfig& config, std::string_view gguf, HfDescription& out);
  VocabularyKind vocabulary = VocabularyKind::kText;
  // Rotary halves lie side by side there, and in turns here: q and k are permuted, head by head.
  bool permutes_heads = false;
  // Norms are stored less one.
  bool shifts_norms = false;
  // There is no output matrix of its own, whatever the file holds.
  bool always_tied = false;
  // Queries, keys and values have biases, always.
  bool biased_attention = false;
  // A space before the text is a token's: where tokenizer files do not say.
  bool space_prefix = true;
};

// kUnsupported, with the nearest known names.
Result<const HfArchitecture*> architecture_named(std::string_view hf);

// What becomes of a tensor of the model.
struct TensorPlace {
  const TensorRule* rule = nullptr;
  std::uint32_t layer = 0;
  bool has_layer = false;
  std::string suffix;  // ".weight" or ".bias"

  std::string gguf_name() const;
};

// Empty when the tensor is not part of what is served (rotary tables, a pooler, a vision tower).
// kUnsupported for one that the architecture does not know.
Result<std::optional<TensorPlace>> place_of(const HfArchitecture& architecture,
                                            std::string_view hf_name);

// Long-context factors of rotary positions, which GGUF keeps as tensors. Empty: none.
struct RopeFactors {
  std::vector<float> all;  // "rope_freqs"
  std::vector<float> long_context;
  std::vector<float> short_context;
};
RopeFactors rope_factors(const HfArchitecture& architecture, const HfConfig& config);

}  // namespace gogrid

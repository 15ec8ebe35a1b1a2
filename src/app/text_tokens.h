// A text as the tokens of a model, for what runs models over texts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "request/sampling_spec.h"

namespace gogrid {

struct TextTokens {
  std::string digest;  // SHA-256 of the file
  std::vector<Token> tokens;
  // In place of each chunk's first token, where the model asks for one.
  std::optional<Token> begin_token;
};

// The text as it is, without its last line end: nothing in it is taken for a control token.
//   kTooLarge         more than kMaxText
//   kUnsupported      a model that wants other tokens around a text than one before it
Result<TextTokens> tokens_of_text(const std::filesystem::path& text,
                                  const std::filesystem::path& model);

// The same of a text in memory.
Result<TextTokens> tokens_of_content(std::string content, const std::filesystem::path& model);

inline constexpr std::size_t kMaxText = std::size_t{256} << 20;

}  // namespace gogrid

// Text to tokens and back, by libllama's vocabulary code.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/text_cutter.h"
#include "model/vocabulary.h"
#include "request/sampling_spec.h"

namespace gogrid {

// Immutable after load(); thread-safe. Loads the vocabulary of a model file, no weights.
class Tokenizer final : public Vocabulary {
 public:
  // `path` must have been read by GgufFile before. kUnsupported for a file without a usable
  // vocabulary. `part`: bytes of a text that libllama is shown at once, if they can be cut there.
  static Result<Tokenizer> load(const std::filesystem::path& path,
                                std::size_t part = TextCutter::kPart);
  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer() override;

  // Appends the tokens of `text`. `add_special`: the model's own begin/end tokens;
  // `parse_special`: "<|im_end|>" in the text becomes its token (templates), instead of being
  // spelled out (what a user typed). The tokens are libllama's for the whole text, but it sees the
  // text in short parts (see TextCutter): it takes quadratic time for some.
  //   kTooLarge         `tokens` would have more than `max_tokens`; noticed after about that many,
  //                     however long the text is. `tokens` then holds some of them.
  //   kInvalidArgument  the text has a word that is too long to tokenize
  Status append_tokens(std::string_view text, bool add_special, bool parse_special,
                       std::size_t max_tokens, std::vector<Token>& tokens) const;
  // The same, from none.
  Result<std::vector<Token>> tokenize(std::string_view text, bool add_special, bool parse_special,
                                      std::size_t max_tokens) const;
  // Whether `text` spells one of the tokens that only templates may write ("<|im_end|>"): what
  // a user typed then has to be tokenized on its own, with `parse_special` off.
  bool spells_control_token(std::string_view text) const;
  std::string piece(Token token, bool special = false) const override;
  bool ends_generation(Token token) const override;
  // All tokens that end generation, for `ban_end_of_text`.
  const std::vector<Token>& end_tokens() const;
  // What the model wants before every text, and behind it; mostly one token and none.
  const std::vector<Token>& before() const;
  const std::vector<Token>& behind() const;
  std::uint32_t size() const;
  // As text, empty when the model has none: templates ask for them by name.
  std::string bos_text() const;
  std::string eos_text() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid

#include "model/tokenizer.h"

#include <llama.h>

#include <array>
#include <limits>

#include "base/units.h"
#include "device/device_registry.h"

namespace gogrid {
namespace {

struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};

// libllama takes lengths as int32.
constexpr std::size_t kMaxText = std::numeric_limits<std::int32_t>::max() / 2;

// Those that libllama finds in a text only with `parse_special`. User-defined ones ("<think>") it
// finds in any text: a user may write them.
bool only_templates_write(llama_token_attr attributes) {
  return (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0;
}

}  // namespace

struct Tokenizer::State {
  std::unique_ptr<llama_model, FreeModel> model;
  const llama_vocab* vocabulary = nullptr;
  std::vector<Token> end_tokens;
  // Texts of control tokens by their first byte, so that a search looks at few of them.
  std::array<std::vector<std::string>, 256> control_texts;

  void index_tokens() {
    const Token count = llama_vocab_n_tokens(vocabulary);
    for (Token token = 0; token < count; ++token) {
      if (llama_vocab_is_eog(vocabulary, token)) end_tokens.push_back(token);
      if (!only_templates_write(llama_vocab_get_attr(vocabulary, token))) continue;
      std::string text = llama_vocab_get_text(vocabulary, token);
      // One character is no spelling that a template could be tricked with.
      if (text.size() < 2) continue;
      control_texts[static_cast<unsigned char>(text.front())].push_back(std::move(text));
    }
  }

  std::string text_of(Token token) const {
    const char* text =
        token == LLAMA_TOKEN_NULL ? nullptr : llama_vocab_get_text(vocabulary, token);
    return text == nullptr ? std::string() : std::string(text);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  initialize_backends();
  llama_model_params parameters = llama_model_default_params();
  parameters.vocab_only = true;
  auto state = std::make_unique<State>();
  state->model.reset(llama_model_load_from_file(path.c_str(), parameters));
  if (state->model == nullptr) {
    return fail(ErrorCode::kUnsupported,
                "[tokenizer] " + path.filename().string() + ": libllama cannot use its vocabulary");
  }
  state->vocabulary = llama_model_get_vocab(state->model.get());
  if (llama_vocab_type(state->vocabulary) == LLAMA_VOCAB_TYPE_NONE ||
      llama_vocab_n_tokens(state->vocabulary) <= 0) {
    return fail(ErrorCode::kUnsupported,
                "[tokenizer] " + path.filename().string() + ": the file has no vocabulary");
  }
  state->index_tokens();
  return Tokenizer(std::move(state));
}

Result<std::vector<Token>> Tokenizer::tokenize(std::string_view text, bool add_special,
                                               bool parse_special, std::size_t max_tokens) const {
  const auto too_long = [&](std::size_t count) {
    return fail(ErrorCode::kInvalidArgument, "[tokenizer] at most " + std::to_string(max_tokens) +
                                                 " tokens: the text has " + std::to_string(count));
  };
  // A token spells at least one byte of text somewhere, and few spell more than 256.
  if (text.size() > kMaxText || text.size() / 256 > max_tokens) return too_long(text.size() / 256);
  const auto length = static_cast<std::int32_t>(text.size());
  std::vector<Token> tokens(text.size() / 3 + 16);
  const auto fill = [&] {
    return llama_tokenize(state_->vocabulary, text.data(), length, tokens.data(),
                          static_cast<std::int32_t>(tokens.size()), add_special, parse_special);
  };
  std::int32_t count = fill();
  if (count < 0) {
    if (count == std::numeric_limits<std::int32_t>::min()) return too_long(kMaxText);
    tokens.resize(static_cast<std::size_t>(-count));
    count = fill();
  }
  tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
  if (tokens.size() > max_tokens) return too_long(tokens.size());
  return tokens;
}

bool Tokenizer::spells_control_token(std::string_view text) const {
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const std::string& control : state_->control_texts[static_cast<unsigned char>(text[i])]) {
      if (text.substr(i).starts_with(control)) return true;
    }
  }
  return false;
}

std::string Tokenizer::piece(Token token, bool special) const {
  if (token < 0 || static_cast<std::uint32_t>(token) >= size()) return {};
  std::string bytes(32, '\0');
  const auto fill = [&] {
    return llama_token_to_piece(state_->vocabulary, token, bytes.data(),
                                static_cast<std::int32_t>(bytes.size()), 0, special);
  };
  std::int32_t length = fill();
  if (length < 0) {
    bytes.resize(static_cast<std::size_t>(-length));
    length = fill();
  }
  bytes.resize(static_cast<std::size_t>(std::max(length, 0)));
  return bytes;
}

bool Tokenizer::ends_generation(Token token) const {
  return token >= 0 && static_cast<std::uint32_t>(token) < size() &&
         llama_vocab_is_eog(state_->vocabulary, token);
}

const std::vector<Token>& Tokenizer::end_tokens() const { return state_->end_tokens; }

std::uint32_t Tokenizer::size() const {
  return static_cast<std::uint32_t>(llama_vocab_n_tokens(state_->vocabulary));
}

std::string Tokenizer::bos_text() const {
  return state_->text_of(llama_vocab_bos(state_->vocabulary));
}
std::string Tokenizer::eos_text() const {
  return state_->text_of(llama_vocab_eos(state_->vocabulary));
}

}  // namespace gogrid

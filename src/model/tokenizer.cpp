#include "model/tokenizer.h"

#include <llama.h>

#include <algorithm>
#include <cstring>

#include "device/device_registry.h"
#include "model/cut_rules.h"

namespace gogrid {
namespace {

struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};

// Appends what libllama makes of `text`, but for the first `dropped` tokens.
void append(const llama_vocab* vocabulary, std::string_view text, bool add_special,
            bool parse_special, std::size_t dropped, std::vector<Token>& tokens) {
  std::vector<Token> made(text.size() + 16);
  const auto fill = [&] {
    return llama_tokenize(vocabulary, text.data(), static_cast<std::int32_t>(text.size()),
                          made.data(), static_cast<std::int32_t>(made.size()), add_special,
                          parse_special);
  };
  std::int32_t count = fill();
  if (count < 0) {  // a character may be more tokens than bytes: a space without a token of its own
    made.resize(static_cast<std::size_t>(-count));
    count = fill();
  }
  made.resize(static_cast<std::size_t>(std::max(count, 0)));
  dropped = std::min(dropped, made.size());
  tokens.insert(tokens.end(), made.begin() + static_cast<std::ptrdiff_t>(dropped), made.end());
}

std::unexpected<Error> too_long(std::size_t max_tokens, std::size_t count) {
  return fail(ErrorCode::kTooLarge, "[tokenizer] at most " + std::to_string(max_tokens) +
                                        " tokens: the text has at least " + std::to_string(count));
}

}  // namespace

struct Tokenizer::State {
  std::unique_ptr<llama_model, FreeModel> model;
  const llama_vocab* vocabulary = nullptr;
  std::vector<Token> end_tokens;
  CutRules rules;
  std::size_t part_size = 0;
  std::size_t longest = 1;  // bytes of a token's text
  // What `add_special` puts around a text.
  std::vector<Token> before;
  std::vector<Token> behind;

  void index_tokens() {
    rules = read_cut_rules(model.get());
    const Token count = llama_vocab_n_tokens(vocabulary);
    for (Token token = 0; token < count; ++token) {
      if (llama_vocab_is_eog(vocabulary, token)) end_tokens.push_back(token);
      longest = std::max(longest, std::strlen(llama_vocab_get_text(vocabulary, token)));
    }
    append(vocabulary, "", true, false, 0, before);
    // One alone is a begin token if the model asks for one.
    if (before.size() > 1 || !llama_vocab_get_add_bos(vocabulary)) {
      if (!before.empty()) behind.assign(1, before.back());
      if (!before.empty()) before.pop_back();
    }
  }

  // `part` as libllama sees it when it stands behind the part's lead.
  void append_part(const TextPart& part, bool parse_special, std::vector<Token>& tokens) const {
    if (part.lead.empty()) return append(vocabulary, part.text, false, parse_special, 0, tokens);
    std::vector<Token> lead;
    append(vocabulary, part.lead, false, parse_special, 0, lead);
    const std::string_view both(part.lead.data(), part.lead.size() + part.text.size());
    append(vocabulary, both, false, parse_special, lead.size(), tokens);
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

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path, std::size_t part) {
  initialize_backends();
  llama_model_params parameters = llama_model_default_params();
  parameters.vocab_only = true;
  auto state = std::make_unique<State>();
  state->part_size = part;
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

Status Tokenizer::append_tokens(std::string_view text, bool add_special, bool parse_special,
                                std::size_t max_tokens, std::vector<Token>& tokens) const {
  const std::size_t least = tokens.size() + text.size() / state_->longest;
  if (least > max_tokens) return too_long(max_tokens, least);
  if (add_special) tokens.insert(tokens.end(), state_->before.begin(), state_->before.end());
  TextCutter cutter(state_->rules, text, parse_special, state_->part_size);
  while (!cutter.done() && tokens.size() <= max_tokens) {
    GOGRID_ASSIGN_OR_RETURN(const TextPart part, cutter.next());
    state_->append_part(part, parse_special, tokens);
  }
  if (add_special) tokens.insert(tokens.end(), state_->behind.begin(), state_->behind.end());
  if (tokens.size() > max_tokens) return too_long(max_tokens, tokens.size());
  return {};
}

Result<std::vector<Token>> Tokenizer::tokenize(std::string_view text, bool add_special,
                                               bool parse_special, std::size_t max_tokens) const {
  std::vector<Token> tokens;
  GOGRID_RETURN_IF_ERROR(append_tokens(text, add_special, parse_special, max_tokens, tokens));
  return tokens;
}

bool Tokenizer::spells_control_token(std::string_view text) const {
  return state_->rules.specials.has_control(text);
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

const std::vector<Token>& Tokenizer::before() const { return state_->before; }
const std::vector<Token>& Tokenizer::behind() const { return state_->behind; }

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

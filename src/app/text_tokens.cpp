#include "app/text_tokens.h"

#include <utility>

#include "base/files.h"
#include "base/sha256.h"
#include "model/tokenizer.h"

namespace gogrid {

Result<TextTokens> tokens_of_text(const std::filesystem::path& text,
                                  const std::filesystem::path& model) {
  GOGRID_ASSIGN_OR_RETURN(std::string content, read_named(text, kMaxText));
  return tokens_of_content(std::move(content), model);
}

Result<TextTokens> tokens_of_content(std::string content, const std::filesystem::path& model) {
  TextTokens made;
  Sha256 hash;
  hash.update(content);
  made.digest = hash.finish();
  if (content.ends_with('\n')) content.pop_back();
  GOGRID_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::load(model));
  if (tokenizer.before().size() > 1 || !tokenizer.behind().empty()) {
    return fail(ErrorCode::kUnsupported,
                "[text] a model that wants at most one token before a text, and none behind it: " +
                    model.string());
  }
  if (!tokenizer.before().empty()) made.begin_token = tokenizer.before().front();
  GOGRID_ASSIGN_OR_RETURN(made.tokens, tokenizer.tokenize(content, true, false, kMaxText));
  return made;
}

}  // namespace gogrid

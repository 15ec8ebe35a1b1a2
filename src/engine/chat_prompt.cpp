#include "engine/chat_prompt.h"

#include <string>
#include <utility>

#include "base/ids.h"

namespace gogrid {
namespace {

// A content that is put in after rendering: `mark` stands for it in the template's output.
struct Guarded {
  std::string mark;
  std::string content;
};

std::vector<Guarded> guard(std::vector<ChatMessage>& messages, const Tokenizer& tokenizer) {
  std::vector<Guarded> guarded;
  for (ChatMessage& message : messages) {
    if (!tokenizer.spells_control_token(message.content)) continue;
    // Random, so that no user can write the mark of another message.
    std::string mark = "content-" + random_hex(16);
    guarded.push_back({mark, std::exchange(message.content, mark)});
  }
  return guarded;
}

// Text in pieces: template text, and contents that are plain text whatever they spell.
struct Piece {
  std::string_view text;
  bool plain = false;
};

std::vector<Piece> split_at_marks(std::string_view rendered, const std::vector<Guarded>& guarded) {
  std::vector<Piece> pieces;
  while (!rendered.empty()) {
    std::size_t nearest = rendered.npos;
    const Guarded* found = nullptr;
    for (const Guarded& one : guarded) {
      const std::size_t at = rendered.find(one.mark);
      if (at < nearest) {
        nearest = at;
        found = &one;
      }
    }
    if (found == nullptr) break;
    if (nearest > 0) pieces.push_back({rendered.substr(0, nearest)});
    pieces.push_back({found->content, true});
    rendered.remove_prefix(nearest + found->mark.size());
  }
  if (!rendered.empty()) pieces.push_back({rendered});
  return pieces;
}

}  // namespace

Result<std::vector<Token>> tokenize_chat(const ChatTemplate& chat_template,
                                         const Tokenizer& tokenizer,
                                         const std::vector<ChatMessage>& messages,
                                         std::size_t max_tokens) {
  std::vector<ChatMessage> marked = messages;
  const std::vector<Guarded> guarded = guard(marked, tokenizer);
  GOGRID_ASSIGN_OR_RETURN(const std::string rendered, chat_template.render(marked));
  const std::string bos = tokenizer.bos_text();
  // Templates that write the begin token themselves must not get a second one.
  bool add_special = bos.empty() || !rendered.starts_with(bos);
  std::vector<Token> tokens;
  for (const Piece& piece : split_at_marks(rendered, guarded)) {
    GOGRID_ASSIGN_OR_RETURN(const auto more,
                            tokenizer.tokenize(piece.text, std::exchange(add_special, false),
                                               !piece.plain, max_tokens - tokens.size()));
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  return tokens;
}

}  // namespace gogrid

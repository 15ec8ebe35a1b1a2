#include "engine/chat_prompt.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "base/ids.h"

namespace gogrid {
namespace {

// Contents that are put in after rendering: marks stand for them in the template's output.
struct Guarded {
  // Random, so that no user can write a mark. The same for all of them, which are then found in
  // one pass; the content's number follows, and a colon.
  std::string prefix = "content-" + random_hex(16) + "-";
  std::vector<std::string> contents;
};

Guarded guard(std::vector<ChatMessage>& messages, const Tokenizer& tokenizer) {
  Guarded guarded;
  for (ChatMessage& message : messages) {
    if (!tokenizer.spells_control_token(message.content)) continue;
    std::string mark = guarded.prefix + std::to_string(guarded.contents.size()) + ":";
    guarded.contents.push_back(std::exchange(message.content, std::move(mark)));
  }
  return guarded;
}

// Text in pieces: template text, and contents that are plain text whatever they spell.
struct Piece {
  std::string_view text;
  bool plain = false;
};

struct Mark {
  std::size_t number = 0;
  std::size_t end = 0;  // behind its colon; 0: no mark
};

// The mark whose prefix ends at `at`. Templates may cut a content short ("content[:20]"), and so a
// mark: what is left of it is text then.
Mark mark_behind(std::string_view rendered, std::size_t at, const Guarded& guarded) {
  Mark mark;
  const char* begin = rendered.data() + at;
  const char* end = rendered.data() + rendered.size();
  const auto [stop, error] = std::from_chars(begin, end, mark.number);
  if (error != std::errc() || stop == end || *stop != ':') return {};
  if (mark.number >= guarded.contents.size()) return {};
  mark.end = at + static_cast<std::size_t>(stop - begin) + 1;
  return mark;
}

std::vector<Piece> split_at_marks(std::string_view rendered, const Guarded& guarded) {
  std::vector<Piece> pieces;
  std::size_t begin = 0;  // of the text that is in no piece yet
  std::size_t at = guarded.contents.empty() ? rendered.npos : rendered.find(guarded.prefix);
  while (at != rendered.npos) {
    const std::size_t behind = at + guarded.prefix.size();
    const Mark mark = mark_behind(rendered, behind, guarded);
    if (mark.end != 0) {
      if (at > begin) pieces.push_back({rendered.substr(begin, at - begin)});
      pieces.push_back({guarded.contents[mark.number], true});
      begin = mark.end;
    }
    at = rendered.find(guarded.prefix, std::max(mark.end, behind));
  }
  if (begin < rendered.size()) pieces.push_back({rendered.substr(begin)});
  return pieces;
}

}  // namespace

Result<std::vector<Token>> tokenize_chat(const ChatTemplate& chat_template,
                                         const Tokenizer& tokenizer,
                                         const std::vector<ChatMessage>& messages,
                                         std::size_t max_tokens) {
  std::vector<ChatMessage> marked = messages;
  const Guarded guarded = guard(marked, tokenizer);
  GOGRID_ASSIGN_OR_RETURN(const std::string rendered, chat_template.render(marked));
  const std::string bos = tokenizer.bos_text();
  // Templates that write the begin token themselves must not get a second one.
  bool add_special = bos.empty() || !rendered.starts_with(bos);
  std::vector<Token> tokens;
  for (const Piece& piece : split_at_marks(rendered, guarded)) {
    GOGRID_RETURN_IF_ERROR(tokenizer.append_tokens(piece.text, std::exchange(add_special, false),
                                                   !piece.plain, max_tokens, tokens));
  }
  return tokens;
}

}  // namespace gogrid

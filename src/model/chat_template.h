// The model's own chat template (Jinja): messages to prompt text.
//
// A template comes from a file that nobody has read, so its language is run by our own interpreter
// (template_*.h): steps, bytes, recursion and numbers are bounded, and whatever it does ends in
// text or in an error within a second. What it knows is what chat templates use; not: `import`,
// `include`, inheritance, recursive loops, call blocks, methods that change a value.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gogrid {

struct ChatMessage {
  std::string role;  // system, user, assistant (developer is system)
  std::string content;
};

// Immutable; render() is thread-safe. Where a template knows no system message, its words are put
// before the user's next ones.
class ChatTemplate {
 public:
  // kUnsupported with the template's error and line.
  static Result<ChatTemplate> parse(std::string_view source, std::string_view bos_text,
                                    std::string_view eos_text);
  ChatTemplate(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // With the generation prompt appended. kInvalidArgument when the template refuses the messages
  // (its raise_exception text).
  Result<std::string> render(const std::vector<ChatMessage>& messages) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid

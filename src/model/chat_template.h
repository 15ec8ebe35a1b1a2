// The model's own chat template (Jinja, by minja): messages to prompt text.
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

// Immutable; render() is thread-safe.
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

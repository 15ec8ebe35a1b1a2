#include "model/chat_template.h"

#include <algorithm>
#include <exception>
#include <minja/chat-template.hpp>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace gogrid {
namespace {

// The longest template seen in a published model is 40 KiB.
constexpr std::size_t kMaxSource = 512 * kKiB;
// The parser and the interpreter recurse: a file must not choose how deep.
constexpr int kMaxNesting = 100;
constexpr std::size_t kMaxRendered = 64 * kMiB;

// Depth of brackets and of blocks that are opened and not yet closed, an upper bound of the
// parser's recursion.
int nesting_of(std::string_view source) {
  int brackets = 0;
  int blocks = 0;
  int deepest = 0;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '(' || c == '[' || c == '{') ++brackets;
    if (c == ')' || c == ']' || c == '}') brackets = std::max(0, brackets - 1);
    if (source.substr(i).starts_with("{%")) {
      const std::size_t word = source.find_first_not_of("-~ \t\r\n", i + 2);
      const std::string_view keyword = word == source.npos ? "" : source.substr(word, 6);
      if (keyword.starts_with("if") || keyword.starts_with("for") || keyword.starts_with("macro") ||
          keyword.starts_with("filter") || keyword.starts_with("call")) {
        ++blocks;
      }
      if (keyword.starts_with("end")) blocks = std::max(0, blocks - 1);
    }
    deepest = std::max(deepest, brackets + blocks);
  }
  return deepest;
}

std::string role_of(const ChatMessage& message) {
  return message.role == "developer" ? "system" : message.role;
}

}  // namespace

struct ChatTemplate::State {
  explicit State(minja::chat_template parsed) : program(std::move(parsed)) {}
  minja::chat_template program;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string_view bos_text,
                                         std::string_view eos_text) {
  if (source.size() > kMaxSource) {
    return fail(ErrorCode::kUnsupported, "[chat_template] at most " + format_bytes(kMaxSource) +
                                             ": the model's template has " +
                                             format_bytes(source.size()));
  }
  if (const int depth = nesting_of(source); depth > kMaxNesting) {
    return fail(ErrorCode::kUnsupported, "[chat_template] at most " + std::to_string(kMaxNesting) +
                                             " levels of nesting: the model's template has " +
                                             std::to_string(depth));
  }
  try {
    return ChatTemplate(std::make_unique<State>(
        minja::chat_template(std::string(source), std::string(bos_text), std::string(eos_text))));
  } catch (const std::exception& error) {
    return fail(
        ErrorCode::kUnsupported,
        std::string("[chat_template] the model's template is no valid Jinja: ") + error.what());
  }
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages) const {
  minja::chat_template_inputs inputs;
  inputs.messages = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) {
    inputs.messages.push_back({{"role", role_of(message)}, {"content", message.content}});
  }
  inputs.add_generation_prompt = true;
  try {
    std::string text = state_->program.apply(inputs);
    if (text.size() > kMaxRendered) {
      return fail(ErrorCode::kInvalidArgument,
                  "[chat_template] at most " + format_bytes(kMaxRendered) + ": rendered to " +
                      format_bytes(text.size()),
                  "messages");
    }
    return text;
  } catch (const std::exception& error) {
    return fail(
        ErrorCode::kInvalidArgument,
        std::string("[chat_template] the model's template refuses these messages: ") + error.what(),
        "messages");
  }
}

}  // namespace gogrid

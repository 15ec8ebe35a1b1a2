#include "model/chat_template.h"

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "model/template_interpreter.h"

namespace gogrid {
namespace {

// The longest template seen in a published model is 40 KiB.
constexpr std::size_t kMaxSource = 512 * kKiB;
// What one render may take, more for each byte of the messages, and how much at most. The longest
// published template takes 5'000 steps for a conversation of ten messages; a step is some 50 ns. A
// template that writes each message once makes eight times its bytes: those at most are for as long
// a message as a request can carry (8 MiB).
constexpr std::uint64_t kSteps = 2'000'000;
constexpr std::uint64_t kStepsPerByte = 1;
constexpr std::uint64_t kMaxSteps = 5'000'000;
constexpr std::uint64_t kBytes = 16 * kMiB;
constexpr std::uint64_t kBytesPerByte = 64;
constexpr std::uint64_t kMaxBytes = 96 * kMiB;

jinja::Budget budget_for(const std::vector<ChatMessage>& messages) {
  std::uint64_t size = 0;
  for (const ChatMessage& message : messages) size += message.content.size() + 64;
  return jinja::Budget(std::min(kSteps + size * kStepsPerByte, kMaxSteps),
                       std::min(kBytes + size * kBytesPerByte, kMaxBytes));
}

}  // namespace

struct ChatTemplate::State {
  jinja::Body program;
  std::string bos_text;
  std::string eos_text;
  bool takes_system = true;    // else the system's words go before the user's
  bool typed_content = false;  // content is a list of {"type", "text"}

  // Throws TemplateError.
  std::string render(const std::vector<ChatMessage>& messages) const {
    jinja::Budget budget = budget_for(messages);
    std::vector<jinja::Value> list;
    for (const ChatMessage& message : messages) list.push_back(value_of(message, budget));
    return jinja::render(program,
                         {{"messages", jinja::make_list(std::move(list), budget)},
                          {"add_generation_prompt", true},
                          {"bos_token", jinja::make_text(bos_text, budget)},
                          {"eos_token", jinja::make_text(eos_text, budget)},
                          {"tools", jinja::None{}},
                          {"documents", jinja::None{}}},
                         budget);
  }

  jinja::Value value_of(const ChatMessage& message, jinja::Budget& budget) const {
    jinja::Value content = jinja::make_text(message.content, budget);
    if (typed_content) {
      content = jinja::make_list(
          {jinja::make_mapping({{"type", jinja::make_text("text", budget)}, {"text", content}},
                               budget)},
          budget);
    }
    return jinja::make_mapping(
        {{"role", jinja::make_text(message.role, budget)}, {"content", std::move(content)}},
        budget);
  }

  bool writes(const std::vector<ChatMessage>& messages, std::string_view text) const {
    try {
      return render(messages).contains(text);
    } catch (const jinja::TemplateError&) {
      return false;
    }
  }

  // Learns by trying what the template makes of messages.
  void probe() {
    const ChatMessage user{"user", "the-words-of-a-user"};
    const ChatMessage system{"system", "the-words-of-the-system"};
    if (!writes({user}, user.content)) {
      typed_content = true;
      if (!writes({user}, user.content)) typed_content = false;  // it writes neither: leave it
    }
    takes_system = writes({system, user}, system.content) || !writes({user}, user.content);
  }
};

namespace {

// A developer is a system to the model.
std::vector<ChatMessage> with_known_roles(std::vector<ChatMessage> messages) {
  for (ChatMessage& message : messages) {
    if (message.role == "developer") message.role = "system";
  }
  return messages;
}

// For templates that know no system: its words come first in what the user says next.
std::vector<ChatMessage> without_system(std::vector<ChatMessage> messages) {
  std::vector<ChatMessage> merged;
  std::string pending;
  const auto flush = [&] {
    if (!pending.empty()) merged.push_back({"user", std::exchange(pending, {})});
  };
  for (ChatMessage& message : messages) {
    if (message.role == "system") {
      pending += (pending.empty() ? "" : "\n") + message.content;
      continue;
    }
    if (message.role != "user") {
      flush();
    } else if (!pending.empty()) {
      message.content = std::exchange(pending, {}) + "\n" + message.content;
    }
    merged.push_back(std::move(message));
  }
  flush();
  return merged;
}

}  // namespace

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
  try {
    auto state = std::make_unique<State>();
    state->program = jinja::parse_template(source);
    state->bos_text = bos_text;
    state->eos_text = eos_text;
    state->probe();
    return ChatTemplate(std::move(state));
  } catch (const jinja::TemplateError& error) {
    return fail(ErrorCode::kUnsupported,
                std::string("[chat_template] a template as chat models have it: ") + error.what());
  }
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages) const {
  try {
    std::vector<ChatMessage> known = with_known_roles(messages);
    if (!state_->takes_system) known = without_system(std::move(known));
    return state_->render(known);
  } catch (const jinja::TemplateError& error) {
    return fail(
        ErrorCode::kInvalidArgument,
        std::string("[chat_template] the model's template refuses these messages: ") + error.what(),
        "messages");
  }
}

}  // namespace gogrid

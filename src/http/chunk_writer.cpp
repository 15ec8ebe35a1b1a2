#include "http/chunk_writer.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

std::string prefix_of(const AnswerHead& head) {
  const bool chat = head.kind == CompletionKind::kChat;
  std::string prefix = "data: {\"id\":" + json_string(head.id) + ",\"object\":\"";
  prefix += chat ? "chat.completion.chunk" : "text_completion";
  prefix += "\",\"created\":" + std::to_string(head.created);
  return prefix + ",\"model\":" + json_string(head.model) + ",\"choices\":[";
}

}  // namespace

ChunkWriter::ChunkWriter(AnswerHead head, bool logprobs, bool usage)
    : head_(std::move(head)), logprobs_(logprobs), usage_(usage), prefix_(prefix_of(head_)) {}

ChunkWriter::Choice& ChunkWriter::choice_at(std::uint32_t choice) {
  if (choices_.size() <= choice) choices_.resize(choice + 1);
  return choices_[choice];
}

void ChunkWriter::open(std::uint32_t choice, std::string& out) const {
  out += prefix_;
  out += "{\"index\":";
  out += std::to_string(choice);
}

void ChunkWriter::close(std::string& out) const {
  out += usage_ ? "}],\"usage\":null}\n\n" : "}]}\n\n";
}

void ChunkWriter::delta(std::uint32_t index, const Delta& delta, std::string& out) {
  Choice& choice = choice_at(index);
  const bool first = !std::exchange(choice.begun, true);
  open(index, out);
  if (head_.kind == CompletionKind::kChat) {
    out += first ? ",\"delta\":{\"role\":\"assistant\",\"content\":" : ",\"delta\":{\"content\":";
    out += json_string(delta.text) + "}";
  } else {
    out += ",\"text\":" + json_string(delta.text);
  }
  out += ",\"logprobs\":";
  out += logprobs_ ? logprobs_json(head_.kind, delta.tokens, choice.characters) : "null";
  out += ",\"finish_reason\":null";
  if (logprobs_) choice.characters += characters_of(delta.tokens);
  close(out);
}

void ChunkWriter::finish(std::uint32_t index, FinishReason reason, std::string& out) {
  // A choice without text still says who speaks.
  if (!choice_at(index).begun) delta(index, {}, out);
  open(index, out);
  out += head_.kind == CompletionKind::kChat ? ",\"delta\":{}" : ",\"text\":\"\"";
  out += ",\"logprobs\":null,\"finish_reason\":\"";
  out += reason == FinishReason::kStop ? "stop\"" : "length\"";
  close(out);
}

void ChunkWriter::end(const Usage& usage, std::string& out) {
  if (usage_) out += prefix_ + "],\"usage\":" + usage_json(usage) + "}\n\n";
  out += "data: [DONE]\n\n";
}

void ChunkWriter::error(const Error& error, std::string& out) {
  out += "data: " + error_body(error) + "\n\n";
}

void ChunkWriter::comment(std::string text, std::string& out) {
  std::ranges::replace_if(text, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  out += ": " + text + "\n\n";
}

}  // namespace gogrid

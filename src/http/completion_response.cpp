#include "http/completion_response.h"

#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_chat(const AnswerHead& head) { return head.kind == CompletionKind::kChat; }

const char* name_of(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

Json envelope(const AnswerHead& head, bool chunk) {
  const char* object = !is_chat(head) ? "text_completion"
                       : chunk        ? "chat.completion.chunk"
                                      : "chat.completion";
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

Json json_of(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_prompt_tokens}}}};
}

Json bytes_of(const std::string& text) {
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

Json chat_probability(const TokenProbability& token) {
  return {{"token", token.bytes}, {"logprob", token.logprob}, {"bytes", bytes_of(token.bytes)}};
}

Json chat_logprobs(const std::vector<TokenEvent>& tokens) {
  Json content = Json::array();
  for (const TokenEvent& event : tokens) {
    Json entry = chat_probability(event.chosen);
    entry["top_logprobs"] = Json::array();
    for (const TokenProbability& other : event.top)
      entry["top_logprobs"].push_back(chat_probability(other));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

// The older shape of /v1/completions: parallel arrays.
Json text_logprobs(const std::vector<TokenEvent>& tokens, std::size_t offset) {
  Json result{{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  for (const TokenEvent& event : tokens) {
    result["tokens"].push_back(event.chosen.bytes);
    result["token_logprobs"].push_back(event.chosen.logprob);
    Json top = Json::object();
    for (const TokenProbability& other : event.top) top[other.bytes] = other.logprob;
    result["top_logprobs"].push_back(std::move(top));
    result["text_offset"].push_back(offset);
    offset += event.chosen.bytes.size();
  }
  return result;
}

Json logprobs_of(const AnswerHead& head, const std::vector<TokenEvent>& tokens, bool wanted,
                 std::size_t offset) {
  if (!wanted) return nullptr;
  return is_chat(head) ? chat_logprobs(tokens) : text_logprobs(tokens, offset);
}

}  // namespace

std::string whole_answer(const AnswerHead& head, const std::vector<ChoiceText>& choices,
                         const Usage& usage, bool logprobs) {
  Json answer = envelope(head, false);
  answer["choices"] = Json::array();
  for (const ChoiceText& choice : choices) {
    Json entry{{"index", answer["choices"].size()}};
    if (is_chat(head)) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      entry["text"] = choice.text;
    }
    entry["logprobs"] = logprobs_of(head, choice.tokens, logprobs, 0);
    entry["finish_reason"] = name_of(choice.reason);
    answer["choices"].push_back(std::move(entry));
  }
  answer["usage"] = json_of(usage);
  return dump(answer);
}

std::string delta_chunk(const AnswerHead& head, std::uint32_t choice, const Delta& delta,
                        bool first, bool logprobs, std::size_t text_offset) {
  Json chunk = envelope(head, true);
  Json entry{{"index", choice}};
  if (is_chat(head)) {
    entry["delta"] = first ? Json{{"role", "assistant"}, {"content", delta.text}}
                           : Json{{"content", delta.text}};
  } else {
    entry["text"] = delta.text;
  }
  entry["logprobs"] = logprobs_of(head, delta.tokens, logprobs, text_offset);
  entry["finish_reason"] = nullptr;
  chunk["choices"] = Json::array({std::move(entry)});
  return dump(chunk);
}

std::string finish_chunk(const AnswerHead& head, std::uint32_t choice, FinishReason reason) {
  Json chunk = envelope(head, true);
  Json entry{{"index", choice}};
  if (is_chat(head))
    entry["delta"] = Json::object();
  else
    entry["text"] = "";
  entry["logprobs"] = nullptr;
  entry["finish_reason"] = name_of(reason);
  chunk["choices"] = Json::array({std::move(entry)});
  return dump(chunk);
}

std::string usage_chunk(const AnswerHead& head, const Usage& usage) {
  Json chunk = envelope(head, true);
  chunk["choices"] = Json::array();
  chunk["usage"] = json_of(usage);
  return dump(chunk);
}

std::string error_body(const Error& error) {
  const ErrorTraits& row = traits(error.code);
  const Json param = error.param.empty() ? Json() : Json(error.param);
  return dump({{"error",
                {{"message", error.message},
                 {"type", row.http_type},
                 {"param", param},
                 {"code", row.name}}}});
}

}  // namespace gogrid

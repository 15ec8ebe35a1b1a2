#include "http/completion_response.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

// Clients read log-probabilities as numbers: for what cannot happen OpenAI sends this.
constexpr float kLeastLogprob = -9999.0F;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

float finite(float logprob) {
  return logprob >= kLeastLogprob ? logprob : kLeastLogprob;  // NaN too
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
  return {
      {"token", token.bytes}, {"logprob", finite(token.logprob)}, {"bytes", bytes_of(token.bytes)}};
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

bool is_utf8(const std::string& text) {
  // What is replaced is what differs.
  return Json::parse(dump(text)).get_ref<const std::string&>() == text;
}

// Parts of characters would all be the same key: U+FFFD.
std::string key_of(const TokenProbability& token) {
  if (is_utf8(token.bytes)) return token.bytes;
  constexpr char kDigits[] = "0123456789abcdef";
  std::string key = "bytes:";
  for (const char c : token.bytes) {
    const auto byte = static_cast<unsigned char>(c);
    key += "\\x";
    key += kDigits[byte >> 4];
    key += kDigits[byte & 15];
  }
  return key;
}

// The older shape of /v1/completions: parallel arrays.
Json text_logprobs(const std::vector<TokenEvent>& tokens, std::size_t characters) {
  Json result{{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  for (const TokenEvent& event : tokens) {
    result["tokens"].push_back(event.chosen.bytes);
    result["token_logprobs"].push_back(finite(event.chosen.logprob));
    Json top = Json::object();
    for (const TokenProbability& other : event.top) top[key_of(other)] = finite(other.logprob);
    // The chosen one is always among them: up to one more than was asked for.
    top[key_of(event.chosen)] = finite(event.chosen.logprob);
    result["top_logprobs"].push_back(std::move(top));
    result["text_offset"].push_back(characters);
    characters += characters_of({event});
  }
  return result;
}

Json logprobs_of(CompletionKind kind, const std::vector<TokenEvent>& tokens,
                 std::size_t characters) {
  return kind == CompletionKind::kChat ? chat_logprobs(tokens) : text_logprobs(tokens, characters);
}

}  // namespace

std::string json_string(std::string_view text) { return dump(Json(text)); }

std::string usage_json(const Usage& usage) { return dump(json_of(usage)); }

std::string logprobs_json(CompletionKind kind, const std::vector<TokenEvent>& tokens,
                          std::size_t characters) {
  return dump(logprobs_of(kind, tokens, characters));
}

std::size_t characters_of(const std::vector<TokenEvent>& tokens) {
  std::size_t count = 0;
  for (const TokenEvent& event : tokens) {
    count += static_cast<std::size_t>(std::ranges::count_if(event.chosen.bytes, [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
  }
  return count;
}

std::string whole_answer(const AnswerHead& head, const std::vector<ChoiceText>& choices,
                         const Usage& usage, bool logprobs) {
  const bool chat = head.kind == CompletionKind::kChat;
  Json answer{{"id", head.id},
              {"object", chat ? "chat.completion" : "text_completion"},
              {"created", head.created},
              {"model", head.model},
              {"choices", Json::array()}};
  for (const ChoiceText& choice : choices) {
    Json entry{{"index", answer["choices"].size()}};
    if (chat) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      entry["text"] = choice.text;
    }
    entry["logprobs"] = logprobs ? logprobs_of(head.kind, choice.tokens, 0) : Json();
    entry["finish_reason"] = choice.reason == FinishReason::kStop ? "stop" : "length";
    answer["choices"].push_back(std::move(entry));
  }
  answer["usage"] = json_of(usage);
  return dump(answer);
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

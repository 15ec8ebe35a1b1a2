// Answers as the OpenAI reference has them. Pure. Streams: chunk_writer.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/completion_request.h"
#include "request/response_sink.h"

namespace gogrid {

// What all objects of one answer share.
struct AnswerHead {
  CompletionKind kind = CompletionKind::kChat;
  std::string id;  // "chatcmpl-…" or "cmpl-…"
  std::string model;
  std::int64_t created = 0;  // seconds since the epoch
};

// One choice of an answer that is not streamed, as it grows.
struct ChoiceText {
  std::string text;
  std::vector<TokenEvent> tokens;
  FinishReason reason = FinishReason::kStop;
};

std::string whole_answer(const AnswerHead& head, const std::vector<ChoiceText>& choices,
                         const Usage& usage, bool logprobs);

// {"error": {"message", "type", "param", "code"}}
std::string error_body(const Error& error);

// Parts, as JSON text. Bytes that are no UTF-8 become U+FFFD, or "bytes:\xff" where they are a key.
std::string json_string(std::string_view text);
std::string usage_json(const Usage& usage);
// `characters`: of the choice's tokens before these (completions' log-probabilities name offsets).
std::string logprobs_json(CompletionKind kind, const std::vector<TokenEvent>& tokens,
                          std::size_t characters);
// Characters begun by these tokens.
std::size_t characters_of(const std::vector<TokenEvent>& tokens);

}  // namespace gogrid

// Answers as the OpenAI reference has them: whole objects and stream chunks. Pure.
#pragma once

#include <cstdint>
#include <string>
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

// `text_offset`: bytes of text of this choice before `delta` (completions' logprobs name offsets).
std::string delta_chunk(const AnswerHead& head, std::uint32_t choice, const Delta& delta,
                        bool first, bool logprobs, std::size_t text_offset);
std::string finish_chunk(const AnswerHead& head, std::uint32_t choice, FinishReason reason);
std::string usage_chunk(const AnswerHead& head, const Usage& usage);

// {"error": {"message", "type", "param", "code"}}
std::string error_body(const Error& error);

}  // namespace gogrid

// The body of a completion request: JSON bytes to a question, every field checked.
#pragma once

#include <string_view>

#include "base/result.h"
#include "service/completion_service.h"

namespace gogrid {

enum class CompletionKind : std::uint8_t { kChat, kText };

struct CompletionRequest {
  CompletionQuestion
      question;  // request_id, principal, deadline and cancel are the server's to set
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
};

// kInvalidArgument, `param` naming the field: malformed JSON, nesting over 64, wrong type, out of
// range, or a field that would change the answer and is not supported. Unknown fields are ignored.
// Pure.
Result<CompletionRequest> parse_completion_request(CompletionKind kind, std::string_view body);

}  // namespace gogrid

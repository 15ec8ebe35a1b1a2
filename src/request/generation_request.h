// One sequence to generate, prepared: tokens in, limits set. Several (`n`) make one HTTP request.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "request/response_sink.h"
#include "request/sampling_spec.h"

namespace gogrid {

struct GenerationRequest {
  std::string id;             // request id, for logs
  std::string principal;      // who asks; fairness is between principals. Empty: anonymous
  std::vector<Token> prompt;  // at least one token
  SamplingSpec sampling;
  std::uint32_t max_tokens = 0;   // > 0
  std::vector<std::string> stop;  // ends before the first of these in the text; they are not sent
  std::optional<TimePoint> deadline;  // kDeadline after it; pauses (Governor) do not count
  // kUnavailable when the pause that it met lasts until then; once that is over it has no meaning.
  std::optional<TimePoint> start_by;
  std::stop_token cancel;  // looked at once a step
};

}  // namespace gogrid

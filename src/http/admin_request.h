// Bodies of /admin/v1, as values. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gogrid {

struct PauseQuestion {
  static constexpr std::chrono::seconds kMost = std::chrono::days(30);

  std::optional<std::chrono::seconds> seconds;  // absent: until somebody resumes
  std::string why = "by the operator";
};

// {"seconds": 1800, "why": "a film"}, both optional; an empty body is an empty object.
// kInvalidArgument names the field.
Result<PauseQuestion> parse_pause_request(std::string_view body);

}  // namespace gogrid

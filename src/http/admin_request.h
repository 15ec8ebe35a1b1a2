// Bodies of /admin/v1, as values. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "service/compatibility_service.h"

namespace gogrid {

struct PauseQuestion {
  static constexpr std::chrono::seconds kMost = std::chrono::days(30);

  std::optional<std::chrono::seconds> seconds;  // absent: until somebody resumes
  std::string why = "by the operator";
};

// {"seconds": 1800, "why": "a film"}, both optional; an empty body is an empty object.
// kInvalidArgument names the field.
Result<PauseQuestion> parse_pause_request(std::string_view body);

// The words behind the '?' of /admin/v1/models/{name}/compatibility: context (16..16777216) and
// parallel (1..256), both optional. kInvalidArgument names the one at fault.
Result<CheckOptions> parse_check_question(
    std::span<const std::pair<std::string, std::string>> words);

}  // namespace gogrid

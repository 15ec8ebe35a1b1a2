#include "engine/model_status.h"

#include <cmath>

namespace gogrid {
namespace {

constexpr std::chrono::milliseconds kRetryAfter{2000};

}  // namespace

std::string_view name_of(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "loading";
    case ModelState::kReady:
      return "ready";
    case ModelState::kFailed:
      return "failed";
    case ModelState::kLeaving:
      return "leaving";
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kResting:
      return "resting";
  }
  return "failed";
}

Error not_ready(const ModelStatus& status) {
  Error error{.code = status.code, .message = {}, .param = "model", .retry_after = kRetryAfter};
  const std::string model = "model '" + status.name + "' ";
  switch (status.state) {
    case ModelState::kLoading:
      error.code = ErrorCode::kUnavailable;
      error.message =
          model + "is loading: " + std::to_string(std::lround(status.progress * 100)) + " %";
      break;
    case ModelState::kLeaving:
    case ModelState::kUnloaded:
      error.message = model + status.why;
      break;
    case ModelState::kResting:
      error.message = model + "is not loaded: " + status.why;
      break;
    case ModelState::kFailed:
    case ModelState::kReady:
      error.message = model + "has failed: " + status.why;
      break;
  }
  return error;
}

}  // namespace gogrid

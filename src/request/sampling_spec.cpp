#include "request/sampling_spec.h"

#include <cmath>
#include <string>

#include "base/format.h"

namespace gogrid {
namespace {

// A closed range, unless `open_below`.
struct Range {
  double low;
  double high;
  bool open_below = false;
};

Status check(const char* name, double value, Range range) {
  const bool inside = std::isfinite(value) && value <= range.high &&
                      (range.open_below ? value > range.low : value >= range.low);
  if (inside) return {};
  const std::string lower =
      range.open_below ? format_text("above {}", range.low) : format_text("from {}", range.low);
  return fail(ErrorCode::kInvalidArgument,
              format_text("[sampling] {} {} to {}: {}", name, lower, range.high, value), name);
}

Status check_bias(const SamplingSpec& spec) {
  for (const LogitBias& entry : spec.logit_bias) {
    if (entry.token < 0) {
      return fail(ErrorCode::kInvalidArgument,
                  format_text("[sampling] logit_bias names tokens from 0: {}", entry.token),
                  "logit_bias");
    }
    GOGRID_RETURN_IF_ERROR(check("logit_bias", static_cast<double>(entry.bias), {-100, 100}));
  }
  return {};
}

}  // namespace

Status validate(const SamplingSpec& spec) {
  constexpr double kMaxCount = 1 << 30;
  GOGRID_RETURN_IF_ERROR(check("temperature", static_cast<double>(spec.temperature), {0, 2}));
  GOGRID_RETURN_IF_ERROR(check("top_k", spec.top_k, {0, kMaxCount}));
  GOGRID_RETURN_IF_ERROR(check("top_p", static_cast<double>(spec.top_p), {0, 1, true}));
  GOGRID_RETURN_IF_ERROR(check("min_p", static_cast<double>(spec.min_p), {0, 1}));
  GOGRID_RETURN_IF_ERROR(
      check("frequency_penalty", static_cast<double>(spec.frequency_penalty), {-2, 2}));
  GOGRID_RETURN_IF_ERROR(
      check("presence_penalty", static_cast<double>(spec.presence_penalty), {-2, 2}));
  GOGRID_RETURN_IF_ERROR(
      check("repeat_penalty", static_cast<double>(spec.repeat_penalty), {0, 10, true}));
  GOGRID_RETURN_IF_ERROR(check("repeat_window", spec.repeat_window, {0, kMaxCount}));
  GOGRID_RETURN_IF_ERROR(check("top_logprobs", spec.top_logprobs, {-1, 20}));
  return check_bias(spec);
}

}  // namespace gogrid

#include "placement/stage_quantization.h"

#include <algorithm>

#include "base/text.h"
#include "model/stage_types.h"

namespace gogrid {
namespace {

constexpr std::string_view kOff = "off";
constexpr std::string_view kAllow = "allow";
constexpr std::size_t kMaxForced = 256;

std::unexpected<Error> bad_part(std::string_view part, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument,
              "expected off, allow or DEVICE=TYPE, as in cpu-b=q4_k: " + excerpt(part) +
                  (why.empty() ? "" : ": ") + std::string(why),
              "quantize-stages");
}

Status add_part(std::string_view part, StageQuantization& asked) {
  if (part == kAllow) {
    asked.allow = true;
    return {};
  }
  const std::size_t sign = part.find('=');
  if (sign == 0 || sign == part.npos || sign + 1 == part.size()) return bad_part(part, "");
  auto type = find_stage_type(part.substr(sign + 1));
  if (!type) return bad_part(part, type.error().message);
  if (asked.forced.size() == kMaxForced) return bad_part(part, "more than 256 devices");
  if (!asked.forced.emplace(part.substr(0, sign), *type).second)
    return bad_part(part, "this device is there twice");
  return {};
}

}  // namespace

Result<StageQuantization> parse_quantize_stages(std::string_view text) {
  StageQuantization asked;
  if (text == kOff) return asked;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    GOGRID_RETURN_IF_ERROR(add_part(text.substr(at, end - at), asked));
    at = end + 1;
  }
  return asked;
}

}  // namespace gogrid

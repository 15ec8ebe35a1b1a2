#include <algorithm>
#include <charconv>

#include "placement/planner.h"

namespace gogrid {
namespace {

constexpr std::size_t kMaxStages = 256;

std::unexpected<Error> bad_part(std::string_view part) {
  return fail(ErrorCode::kInvalidArgument,
              "[split] stages such as 0:15@cpu-a,15:30@vulkan0: '" + std::string(part) + "'",
              "split");
}

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<StageChoice> parse_part(std::string_view part) {
  const auto colon = part.find(':');
  const auto at = part.find('@');
  if (colon == part.npos || at == part.npos || at < colon) return bad_part(part);
  const auto first = number(part.substr(0, colon));
  const auto last = number(part.substr(colon + 1, at - colon - 1));
  const std::string_view device = part.substr(at + 1);
  if (!first || !last || *first >= *last || device.empty()) return bad_part(part);
  return StageChoice{{*first, *last}, std::string(device)};
}

}  // namespace

Result<std::vector<StageChoice>> parse_split(std::string_view text) {
  std::vector<StageChoice> stages;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    GOGRID_ASSIGN_OR_RETURN(StageChoice stage, parse_part(text.substr(at, end - at)));
    if (stages.size() == kMaxStages) return bad_part("more than 256 stages");
    stages.push_back(std::move(stage));
    at = end + 1;
  }
  return stages;
}

}  // namespace gogrid

#include "base/durations.h"

#include <array>
#include <charconv>
#include <cstdint>

namespace gogrid {
namespace {

struct Unit {
  std::string_view suffix;
  std::chrono::milliseconds length;
};
constexpr std::array<Unit, 4> kUnits{{{"h", std::chrono::hours(1)},
                                      {"m", std::chrono::minutes(1)},
                                      {"s", std::chrono::seconds(1)},
                                      {"ms", std::chrono::milliseconds(1)}}};
constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365);

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  const std::string_view suffix(stopped, static_cast<std::size_t>(end - stopped));
  if (error == std::errc() && number == 0 && suffix.empty()) return Duration(0);
  for (const Unit& unit : kUnits) {
    if (error != std::errc() || suffix != unit.suffix) continue;
    if (number >= 0 && number <= kLongest / unit.length) return number * unit.length;
  }
  return fail(ErrorCode::kInvalidArgument, "expected a time like 90s, 5m or 2h, up to a year: '" +
                                               std::string(text.substr(0, 40)) + "'");
}

std::string format_duration(Duration time) {
  for (const Unit& unit : kUnits) {
    if (time % unit.length == Duration(0) && time >= unit.length)
      return std::to_string(time / unit.length) + std::string(unit.suffix);
  }
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) + "ms";
}

}  // namespace gogrid

// Spans of time as people write them.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace gogrid {

// "90s", "5m", "2h", "250ms", and "0"; whole numbers, up to a year. kInvalidArgument otherwise.
Result<Duration> parse_duration(std::string_view text);

// In the largest unit that is exact, of those above: "5m", "90s".
std::string format_duration(Duration time);

}  // namespace gogrid

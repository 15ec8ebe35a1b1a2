#include "http/range_header.h"

#include <algorithm>

#include "base/text.h"

namespace gogrid {

std::optional<AskedRange> asked_range(std::string_view header, Bytes size) {
  constexpr std::string_view kUnit = "bytes=";
  const AskedRange whole{{0, size}, false};
  if (!header.starts_with(kUnit)) return whole;
  const std::string_view range = header.substr(kUnit.size());
  const std::size_t dash = range.find('-');
  if (dash == range.npos) return whole;
  const auto first = parse_number(range.substr(0, dash));
  const auto last = parse_number(range.substr(dash + 1));
  const bool from_the_end = dash == 0 && last.has_value();
  const bool to_the_end = dash + 1 == range.size() && first.has_value();
  if (!from_the_end && !to_the_end && (!first || !last || *last < *first)) return whole;
  if (from_the_end) {
    if (*last == 0) return std::nullopt;
    return AskedRange{{size - std::min(size, *last), size}, true};
  }
  if (*first >= size) return std::nullopt;
  return AskedRange{{*first, to_the_end ? size : std::min(size - 1, *last) + 1}, true};
}

}  // namespace gogrid

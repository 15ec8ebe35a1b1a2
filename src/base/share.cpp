#include "base/share.h"

#include <cmath>

namespace gogrid {

Share Share::part_of(Wide part, Wide whole) {
  if (whole == 0) return {};
  return part < whole ? Share(static_cast<std::uint32_t>(part * kWhole / whole)) : Share(kWhole);
}

std::optional<Share> Share::of(double number) {
  if (!(number >= 0.0 && number <= 1.0)) return std::nullopt;
  return Share(static_cast<std::uint32_t>(std::llround(number * kWhole)));
}

Bytes Share::floor_of(Bytes total) const {
  return static_cast<Bytes>(Wide{total} * millionths_ / kWhole);
}

}  // namespace gogrid

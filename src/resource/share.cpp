#include "resource/share.h"

#include <cmath>

namespace gogrid {

std::optional<Share> Share::of(double number) {
  if (!(number >= 0.0 && number <= 1.0)) return std::nullopt;
  return Share(static_cast<std::uint32_t>(std::llround(number * kWhole)));
}

}  // namespace gogrid

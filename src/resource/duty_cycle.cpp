#include "resource/duty_cycle.h"

#include <algorithm>
#include <limits>

namespace gogrid {
namespace {

__extension__ using Wide = __int128;

// No rest is longer, whatever steps took: 2^60 ns, so that sums do not overflow.
constexpr Wide kLongest = Wide{1} << 60;

Duration rest_for(Duration busy, Share share) {
  const std::uint32_t part = std::max(share.millionths(), 1U);
  const Wide rest =
      static_cast<Wide>(std::max(busy, Duration(0)).count()) * (Share::kWhole - part) / part;
  return Duration(static_cast<std::int64_t>(std::min(rest, kLongest)));
}

}  // namespace

TimePoint rests_until(TimePoint begin, TimePoint end, Share share) {
  return end + std::min(rest_for(end - begin, share), TimePoint::max() - end);
}

}  // namespace gogrid

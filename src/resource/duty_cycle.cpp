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

TimePoint DutyCycle::ran(TimePoint begin, TimePoint end, Share share) {
  const Duration rested = begin - end_;
  owed_ = std::max(owed_ - rested, Duration(0));
  owed_ =
      std::min(owed_ + rest_for(end - begin, share), Duration(static_cast<std::int64_t>(kLongest)));
  end_ = end;
  return end + std::min(owed_, TimePoint::max() - end);
}

}  // namespace gogrid

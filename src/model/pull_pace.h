// How fast bytes may come. Pure: time comes in from outside.
#pragma once

#include <algorithm>

#include "base/clock.h"
#include "base/units.h"

namespace gogrid {

// Holds the mean over any second to `rate` bytes a second; 0: no limit. Bytes that have come cannot
// be sent back, so it runs into debt and says how long to read nothing. Not thread-safe.
class PullPace {
 public:
  PullPace(Bytes rate, TimePoint now) : rate_(rate), due_(now) {}

  void came(Bytes bytes, TimePoint now) {
    if (rate_ == 0) return;
    // What was not used is lost: a pause is not followed by a burst.
    due_ = std::max(due_, now);
    due_ += std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate_)));
  }
  // 0: read on.
  Duration wait(TimePoint now) const {
    return rate_ == 0 ? Duration{} : std::max(due_ - now, Duration{});
  }

 private:
  const Bytes rate_;
  TimePoint due_;  // when what has come would have come at the rate
};

}  // namespace gogrid

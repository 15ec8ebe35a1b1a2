// How long a device rests between steps, so that it computes for a share of the time only.
#pragma once

#include "base/clock.h"
#include "base/share.h"

namespace gogrid {

// After a step of t it rests t·(1 - share)/share. Time in which nobody had work counts as rest, but
// is not saved up: whatever came before, over any stretch that is long beside a step the device is
// busy for at most the share. A step cannot be interrupted: one that takes longer than a second is
// followed by the longer rest.
//
// Not thread-safe: one per stage thread. Time comes in.
class DutyCycle {
 public:
  // A step ran from `begin` to `end`; the next may begin at the returned time. A share of 0 is
  // taken as a millionth: whoever wants no work at all pauses instead.
  TimePoint ran(TimePoint begin, TimePoint end, Share share);

 private:
  TimePoint end_;     // of the last step
  Duration owed_{0};  // rest, when it ended
};

}  // namespace gogrid

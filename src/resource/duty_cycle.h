// How long a device rests between steps, so that it computes for a share of the time only.
#pragma once

#include "base/clock.h"
#include "base/share.h"

namespace gogrid {

// When the next step may begin after one that ran from `begin` to `end`: after t of work comes a
// rest of t·(1 - share)/share. So over any stretch that is long beside a step the device is busy
// for at most the share. Time without work counts as rest and is not saved up. A step cannot be
// interrupted: one that takes longer than a second is followed by the longer rest. A share of 0 is
// taken as a millionth: whoever wants no work at all pauses instead.
//
// Pure: asked again while it rests, it goes by the share of that moment, and nothing is owed for a
// share that was.
TimePoint rests_until(TimePoint begin, TimePoint end, Share share);

}  // namespace gogrid

// From how long a few slices of a model took on a device to what its layers and its head cost.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "placement/planner.h"

namespace gogrid {

struct Timing {
  double rows = 0;
  double ms = 0;
};

// One slice, run at a few batch sizes.
struct SliceTimings {
  std::uint32_t layers = 0;
  bool head = false;
  std::vector<Timing> decode;
  Timing prefill;  // one large batch
  // The largest median of a batch size over its least time: how much else the device had to do.
  double noise = 1;
};

// t(rows) = fixed + per_row * rows, both at least zero.
struct Line {
  double fixed_ms = 0;
  double row_ms = 0;
};

// The line with the least sum of squared relative errors: a batch of one counts as much as a batch
// of sixteen. Timings of zero are ignored.
Line fit_line(std::span<const Timing> timings);

// What was run on a device. A short slice out of the middle alone may lie in the processor's cache
// as the whole model would not, and has the cost of a call in it: hence a long one.
struct Measured {
  SliceTimings middle;               // no head
  std::optional<SliceTimings> last;  // with the head; none: the model has not been cut
  std::optional<SliceTimings>
      more;  // more layers than `middle`: with the head if it is all of them
};

// Fills in the speeds of `budget`.
void set_speeds(const Measured& measured, DeviceBudget& budget);

}  // namespace gogrid

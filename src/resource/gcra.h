// A rate limit on one 64-bit atomic: the generic cell rate algorithm (ITU-T I.371) in its virtual
// scheduling form.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>

#include "base/clock.h"

namespace gogrid {

// At most one turn each `interval`, or `burst` of them at once after a rest. An interval of 0
// limits nothing.
struct Rate {
  static constexpr Duration kMaxInterval = std::chrono::hours(24);
  static constexpr std::int64_t kMaxIntervalNs = kMaxInterval.count();
  static constexpr std::uint32_t kMaxBurst = 10'000;

  Duration interval{0};
  std::uint32_t burst = 1;
};

// What one caller was given.
struct Turn {
  TimePoint at;  // when it may go; not before it asked
  std::int64_t before = 0;
  std::int64_t after = 0;
};

// The state is the time of the last turn, as if nobody had gone ahead in a burst. Each caller moves
// it by its interval in one compare-and-swap, so no two get the same turn, whatever the
// interleaving, and turns are in the order of the swaps. The rate comes with each call: it may
// change at any time.
//
// Thread-safe, lock-free; 8 bytes. `Atomic` is a parameter for the test that enumerates
// interleavings.
template <template <class> class Atomic>
class BasicGcra {
 public:
  // The earliest turn, taken; empty, and nothing taken, when it would come after `latest`.
  std::optional<Turn> take(TimePoint now, Rate rate, TimePoint latest) {
    if (rate.interval <= Duration(0)) return Turn{now, 0, 0};
    const std::int64_t interval = std::min(rate.interval, Rate::kMaxInterval).count();
    const std::int64_t tolerance = interval * (std::clamp(rate.burst, 1U, Rate::kMaxBurst) - 1);
    const std::int64_t asked = now.time_since_epoch().count();
    const std::int64_t end = std::min(latest.time_since_epoch().count(), kLatest);
    std::int64_t before = last_.load(std::memory_order_relaxed);
    while (true) {
      const std::int64_t at = std::max(asked, before + interval - tolerance);
      if (at > end) return std::nullopt;
      const std::int64_t after = std::max(asked, before + interval);
      if (last_.compare_exchange_weak(before, after, std::memory_order_relaxed)) {
        return Turn{TimePoint(Duration(at)), before, after};
      }
    }
  }

  // A turn that was not used. True when it can be had again: nobody has taken one after it.
  bool give_back(const Turn& turn) {
    std::int64_t after = turn.after;
    return turn.after != turn.before &&
           last_.compare_exchange_strong(after, turn.before, std::memory_order_relaxed);
  }

 private:
  // Beyond it sums would overflow.
  static constexpr std::int64_t kLatest =
      std::numeric_limits<std::int64_t>::max() - (Rate::kMaxBurst + 1) * Rate::kMaxIntervalNs;

  Atomic<std::int64_t> last_{std::numeric_limits<std::int64_t>::min() / 2};
};

template <class T>
using StdAtomic = std::atomic<T>;
using Gcra = BasicGcra<StdAtomic>;

}  // namespace gogrid

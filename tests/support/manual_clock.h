// A clock that moves when told.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace gogrid::testing {

// Thread-safe.
class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return TimePoint(Duration(nanoseconds_.load())); }
  void advance(Duration by) { nanoseconds_.fetch_add(by.count()); }

 private:
  std::atomic<Duration::rep> nanoseconds_{1'000'000'000};
};

}  // namespace gogrid::testing

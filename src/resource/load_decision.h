// Whether to pause for the load of others: a pure decision, with hysteresis.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/share.h"
#include "resource/host_text.h"
#include "resource/resource_policy.h"

namespace gogrid {

// What others use of the machine.
struct OthersLoad {
  Reading<Share> cpu;
  Reading<Share> gpu;
  Reading<Share> memory;
};

enum class LoadState : std::uint8_t { kRunning, kPaused };

struct LoadDecision {
  LoadState state = LoadState::kRunning;
  // Paused: the figures that made it so, or that last kept it so: "others use 83 % of
  // the CPU (limit 70 %)".
  // Running: empty, or the load for which no pause may begin before `until`.
  std::string why = {};
  // Paused: goes on at the first look at or after this, if no load is found before.
  TimePoint until = {};
  // What could not be told, by name: "gpu: …". It never pauses.
  std::vector<std::string> unknown = {};
  TimePoint looked_at = {};
  // Of the last change between running and paused; empty: none since the start.
  std::optional<TimePoint> changed_at = {};
};

// A load above the policy's share pauses. A pause lasts for `policy.pause` (or `policy.check`, if
// that is longer) from the last look that found a load above resume_level(), so it extends while
// the load lasts. Between two changes passes at least as much: a load that is back sooner waits
// until then. Switching the policy off is no such change: it takes effect at once, and the next
// pause needs no distance from it.
LoadDecision decide(const LoadDecision& last, const PausePolicy& policy, const OthersLoad& load,
                    TimePoint now);

// Nine tenths of the share that pauses: a load that hovers around it makes one pause, not many.
Share resume_level(Share pause_above);

}  // namespace gogrid

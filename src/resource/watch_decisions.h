// What the state of the machine means for the work: pure decisions, apart from the threads that
// look.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "device/telemetry.h"
#include "resource/host_load.h"
#include "resource/presence.h"
#include "resource/resource_policy.h"

namespace gogrid {

// While somebody is at the machine, no limit is above the conservative mode's: whoever is there is
// given way sooner, and for longer. Who is not known counts as nobody.
PausePolicy with_presence(PausePolicy policy, PresenceState presence);

// A condition that pauses while it holds (on battery, too hot), with hysteresis.
struct ConditionState {
  bool paused = false;
  TimePoint seen{};                       // when it was last found to hold
  std::optional<TimePoint> changed = {};  // between paused and running
  bool operator==(const ConditionState&) const = default;
};

// A pause lasts for policy.pause from when the condition was last found, and none begins sooner
// than that after the last: at most one change in each period. Switched off it ends at once.
// `holds` is false also for what is not known.
ConditionState decide_condition(const ConditionState& last, const PausePolicy& policy, bool holds,
                                TimePoint now);

// What others use of the GPU that they use most, of all in the machine; unknown where no GPU tells.
Reading<Share> gpu_of_others(const GpuReadings& readings);

// Why to pause, for people; empty: it does not hold, or is not known.
std::string power_fault(const Reading<Power>& power);  // "on battery (43 %)"
std::string heat_fault(const Reading<Heat>& heat);  // "x86_pkg_temp is at 96 °C, its limit 95 °C"

}  // namespace gogrid

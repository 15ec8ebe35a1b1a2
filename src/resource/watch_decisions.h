// What the state of the machine means for the work: pure decisions, apart from the threads that
// look.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "device/telemetry.h"
#include "resource/host_load.h"
#include "resource/load_monitor.h"
#include "resource/presence.h"
#include "resource/resource_policy.h"

namespace gogrid {

// While somebody is at the machine, no limit is above the conservative mode's: whoever is there is
// given way sooner, and for longer. Who is not known counts as nobody.
PausePolicy with_presence(PausePolicy policy, PresenceState presence);

// A condition that pauses while it holds (on battery, too hot), with hysteresis.
struct ConditionState {
  bool paused = false;
  std::string why = {};                   // as it was last found
  TimePoint seen{};                       // and when
  std::optional<TimePoint> changed = {};  // between paused and running
  bool operator==(const ConditionState&) const = default;
};

// A pause lasts for policy.pause from when the condition was last found, and none begins sooner
// than that after the last: at most one change in each period. Switched off it ends at once.
// `fault`: why to pause, for people; empty: it does not hold, or is not known.
ConditionState decide_condition(const ConditionState& last, const PausePolicy& policy,
                                const std::string& fault, TimePoint now);

// What others use of the GPU that they use most, of all in the machine; unknown where no GPU tells.
Reading<Share> gpu_of_others(const GpuReadings& readings);

std::string power_fault(const Reading<Power>& power);  // "on battery (43 %)"
// "x86_pkg_temp is at 96 °C, its limit is 95 °C". Once it was too hot and has `paused`, it is so
// until it is kCooler below its limit: work that begins at the limit's edge is over it at once.
std::string heat_fault(const Reading<Heat>& heat, bool paused);
inline constexpr Millidegrees kCooler = 3000;

// What of all this cannot be seen on this machine, each with the reason; empty: everything can.
std::string unwatched(const LoadView& view);

}  // namespace gogrid

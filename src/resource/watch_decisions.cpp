#include "resource/watch_decisions.h"

#include <algorithm>

namespace gogrid {

PausePolicy with_presence(PausePolicy policy, PresenceState presence) {
  if (presence != PresenceState::kPresent) return policy;
  const PausePolicy quiet = ResourcePolicy::of(ResourceMode::kConservative).pause;
  policy.cpu = std::min(policy.cpu, quiet.cpu);
  policy.gpu = std::min(policy.gpu, quiet.gpu);
  policy.memory = std::min(policy.memory, quiet.memory);
  policy.check = std::min(policy.check, quiet.check);
  policy.pause = std::max(policy.pause, quiet.pause);
  return policy;
}

ConditionState decide_condition(const ConditionState& last, const PausePolicy& policy, bool holds,
                                TimePoint now) {
  ConditionState next = last;
  if (holds) next.seen = now;
  if (!policy.enabled) {
    next.paused = false;
    next.changed.reset();
    return next;
  }
  const bool settled = !last.changed || now - *last.changed >= policy.pause;
  if (last.paused)
    next.paused = holds || now - next.seen < policy.pause;
  else
    next.paused = holds && settled;
  if (next.paused != last.paused) next.changed = now;
  return next;
}

Reading<Share> gpu_of_others(const GpuReadings& readings) {
  std::optional<Share> most;
  std::string why = "no GPU found";
  for (const Error& fault : readings.faults) why = fault.message;
  for (const GpuReading& gpu : readings.gpus) {
    if (gpu.busy_by_others) most = std::max(most.value_or(Share()), *gpu.busy_by_others);
    if (!gpu.notes.empty()) why = gpu.id + ": " + gpu.notes.front();
  }
  if (most) return *most;
  return std::unexpected(why);
}

std::string power_fault(const Reading<Power>& power) {
  if (!power || !power->on_battery) return {};
  if (!power->charge) return "on battery";
  return "on battery (" + std::to_string(power->charge->millionths() / 10'000) + " %)";
}

std::string heat_fault(const Reading<Heat>& heat) {
  if (!heat || !heat->throttled) return {};
  const auto degrees = [](Millidegrees value) { return std::to_string(value / 1000) + " °C"; };
  return heat->zone + " is at " + degrees(heat->now) + ", its limit is " + degrees(heat->limit);
}

}  // namespace gogrid

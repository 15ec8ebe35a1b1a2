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

ConditionState decide_condition(const ConditionState& last, const PausePolicy& policy,
                                const std::string& fault, TimePoint now) {
  ConditionState next = last;
  const bool holds = !fault.empty();
  if (holds) {
    next.seen = now;
    next.why = fault;
  }
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

std::string heat_fault(const Reading<Heat>& heat, bool paused) {
  if (!heat) return {};
  const bool still = paused && heat->now > heat->limit - kCooler;
  if (!heat->throttled && !still) return {};
  const auto degrees = [](Millidegrees value) { return std::to_string(value / 1000) + " °C"; };
  return heat->zone + " is at " + degrees(heat->now) + ", its limit is " + degrees(heat->limit);
}

std::string unwatched(const LoadView& view) {
  std::vector<std::string> missing = view.decision.unknown;
  if (!view.host.power) missing.push_back("power: " + view.host.power.error());
  if (!view.host.heat) missing.push_back("heat: " + view.host.heat.error());
  std::string all;
  for (const std::string& one : missing) all += (all.empty() ? "" : "; ") + one;
  return all;
}

}  // namespace gogrid

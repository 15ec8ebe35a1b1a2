#include "resource/machine_watch.h"

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

#include "obs/log.h"

namespace gogrid {
namespace {

// A clock or a zone that was set is noticed after this long.
constexpr Duration kLongestSchedule = std::chrono::minutes(1);
// A pause that nobody renews ends so long after the look that should have done so.
constexpr Duration kGrace = std::chrono::seconds(2);
// Without a figure in so many looks, there will be none.
constexpr int kLooksForCpu = 3;

std::optional<ResourceMode> mode_of(ScheduledMode mode) {
  switch (mode) {
    case ScheduledMode::kConservative:
      return ResourceMode::kConservative;
    case ScheduledMode::kBalanced:
      return ResourceMode::kBalanced;
    case ScheduledMode::kAggressive:
      return ResourceMode::kAggressive;
    case ScheduledMode::kOff:
      break;
  }
  return std::nullopt;
}

}  // namespace

MachineWatch::MachineWatch(PolicyStore& policies, Governor& governor, QuietHours quiet_hours,
                           WatchSources sources, const Clock& clock)
    : policies_(policies),
      governor_(governor),
      quiet_hours_(std::move(quiet_hours)),
      sources_(std::move(sources)),
      clock_(clock),
      configured_(policies.current()->pause),
      monitor_(policies.current()->pause, sources_.load, clock,
               [this](const LoadDecision& decision) { on_look(decision); }) {
  policies_.listen([this](const PolicyStore::Snapshot& snapshot) { on_policy(snapshot); });
}

MachineWatch::~MachineWatch() { stop(); }

Status MachineWatch::start() {
  if (!quiet_hours_.empty()) {
    GOGRID_ASSIGN_OR_RETURN(const auto* zone, sources_.zone());
    {
      MutexLock lock(mu_);
      zone_ = zone;
    }
    look_at_schedule();  // before anything is computed
    try {
      schedule_ = std::jthread([this] { run_schedule(); });
    } catch (const std::system_error& thrown) {
      return fail(ErrorCode::kExhausted,
                  std::string("[watch] expected a thread for quiet hours: ") + thrown.what());
    }
  }
  if (sources_.sessions) {
    auto presence = OwnerPresence::start(sources_.sessions, sources_.presence, clock_,
                                         [this](const Presence& seen) { see(seen); });
    if (presence)
      presence_ = *std::move(presence);
    else
      log::info("presence_not_watched", {{"why", presence.error().message}});
  }
  return monitor_.start();
}

void MachineWatch::stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
    changed_.notify_all();
  }
  if (presence_ != nullptr) presence_->stop();
  monitor_.stop();
  if (schedule_.joinable()) schedule_.join();
}

PausePolicy MachineWatch::policy() const { return with_presence(configured_, presence_state_); }

void MachineWatch::on_policy(const PolicyStore::Snapshot& snapshot) {
  MutexLock lock(mu_);
  configured_ = snapshot->pause;
  if (wants_no_work(*snapshot))
    governor_.pause(PauseReason::kPolicy, "max_compute is 0", {});
  else
    governor_.resume(PauseReason::kPolicy);
  monitor_.set_policy(policy());  // locked: of two changes the later one must stand
}

void MachineWatch::see(const Presence& presence) {
  MutexLock lock(mu_);
  if (presence_state_ == presence.state) return;
  presence_state_ = presence.state;
  monitor_.set_policy(policy());
}

void MachineWatch::on_look(const LoadDecision& decision) {
  const auto view = monitor_.last();
  const TimePoint now = clock_.now();
  MutexLock lock(mu_);
  tell_unwatched(*view);
  if (decision.state == LoadState::kPaused) {
    governor_.pause(PauseReason::kLoad, decision.why,
                    std::max(decision.until, now) + policy().check + kGrace);
  } else {
    governor_.resume(PauseReason::kLoad);
  }
  act(PauseReason::kPower, power_fault(view->host.power), power_, now);
  act(PauseReason::kHeat, heat_fault(view->host.heat, heat_.paused), heat_, now);
}

void MachineWatch::act(PauseReason reason, const std::string& fault, ConditionState& state,
                       TimePoint now) {
  const PausePolicy policy = this->policy();
  state = decide_condition(state, policy, fault, now);
  if (!state.paused) {
    governor_.resume(reason);
    return;
  }
  governor_.pause(reason, fault.empty() ? "a moment ago: " + state.why : state.why,
                  state.seen + policy.pause + policy.check + kGrace);
}

void MachineWatch::tell_unwatched(const LoadView& view) {
  // The first looks may not know the CPU's load: it is a difference.
  if (told_unwatched_ || (!view.host.cpu && ++looks_ < kLooksForCpu)) return;
  told_unwatched_ = true;
  const std::string missing = unwatched(view);
  if (!missing.empty()) log::info("not_watched", {{"missing", missing}});
}

Duration MachineWatch::look_at_schedule() {
  const auto wall = sources_.wall_clock();
  ScheduleState state;
  {
    MutexLock lock(mu_);
    if (const auto zone = sources_.zone()) zone_ = *zone;
    if (zone_ == nullptr) return kLongestSchedule;
    state = quiet_hours_.at(wall, *zone_);
  }
  const Duration left = state.until ? Duration(*state.until - wall) : kLongestSchedule;
  const Duration next = std::clamp<Duration>(left, std::chrono::seconds(1), kLongestSchedule);
  if (state.mode == ScheduledMode::kOff) {
    policies_.schedule({});
    governor_.pause(PauseReason::kSchedule, "quiet hours",
                    state.until ? std::optional(clock_.now() + left) : std::nullopt);
  } else {
    policies_.schedule(state.mode ? mode_of(*state.mode) : std::nullopt);
    governor_.resume(PauseReason::kSchedule);
  }
  return next;
}

Duration MachineWatch::try_schedule() {
  try {
    return look_at_schedule();
  } catch (const std::exception& thrown) {  // time zone data, or no memory: the next look may do
    log::error("schedule_look_failed", {{"error", std::string_view(thrown.what())}});
    return kLongestSchedule;
  }
}

void MachineWatch::run_schedule() {
  while (true) {
    const auto until = std::chrono::steady_clock::now() + try_schedule();
    MutexLock lock(mu_);
    while (!stopped_ && changed_.wait_until(mu_, until)) {
    }
    if (stopped_) return;
  }
}

}  // namespace gogrid

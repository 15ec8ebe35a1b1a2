// Watches the machine on behalf of whoever owns it, and has the governor pause for what it sees.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "resource/governor.h"
#include "resource/load_monitor.h"
#include "resource/owner_presence.h"
#include "resource/policy_store.h"
#include "resource/quiet_hours.h"
#include "resource/watch_decisions.h"

namespace gogrid {

// Where it looks.
struct WatchSources {
  LoadSources load;
  SessionWatchOpener sessions = {};  // empty: nobody tells whether somebody is there
  OwnerPresenceOptions presence = {};
  std::function<std::chrono::sys_seconds()> wall_clock;
  // Asked anew at each look; where it fails, the last that was known is used.
  std::function<Result<const std::chrono::time_zone*>()> zone;
};

// Others' load, battery, heat, the owner's presence and quiet hours, each by a part of its own:
// this wires them to the policy and to the governor. Thread-safe. `policies`, `governor` and
// `clock` must outlive it; it must outlive the last change of `policies`.
class MachineWatch {
 public:
  MachineWatch(PolicyStore& policies, Governor& governor, QuietHours quiet_hours,
               WatchSources sources, const Clock& clock);
  ~MachineWatch();
  MachineWatch(const MachineWatch&) = delete;
  MachineWatch& operator=(const MachineWatch&) = delete;

  // Begins to look, on threads of its own. kInvalidArgument where quiet hours are set and the time
  // zone is not known; kExhausted when there can be no more threads. What cannot be watched here is
  // logged, and no error.
  Status start();
  // Ends the threads. May be called again.
  void stop() EXCLUDES(mu_);

  // Looks at the load, power and heat now, and acts on it.
  void look() { monitor_.look(); }
  // Looks at the calendar now, and acts on it. When to look again, at the latest.
  Duration look_at_schedule() EXCLUDES(mu_);
  // As the session manager's listener.
  void see(const Presence& presence) EXCLUDES(mu_);

  // The last look; null before the first.
  std::shared_ptr<const LoadView> load() const { return monitor_.last(); }

 private:
  void on_look(const LoadDecision& decision) EXCLUDES(mu_);
  void act(PauseReason reason, const std::string& fault, ConditionState& state, TimePoint now)
      REQUIRES(mu_);
  PausePolicy policy() const REQUIRES(mu_);
  void on_policy(const PolicyStore::Snapshot& snapshot) EXCLUDES(mu_);
  void tell_unwatched(const LoadView& view) REQUIRES(mu_);
  Duration try_schedule() EXCLUDES(mu_);
  void run_schedule() EXCLUDES(mu_);

  PolicyStore& policies_;
  Governor& governor_;
  const QuietHours quiet_hours_;
  const WatchSources sources_;
  const Clock& clock_;

  Mutex mu_;  // before the monitor's, the governor's
  CondVar changed_;
  PausePolicy configured_ GUARDED_BY(mu_);
  PresenceState presence_state_ GUARDED_BY(mu_) = PresenceState::kUnknown;
  int looks_ GUARDED_BY(mu_) = 0;  // without a figure of the CPU, so far
  bool told_unwatched_ GUARDED_BY(mu_) = false;
  ConditionState power_ GUARDED_BY(mu_);
  ConditionState heat_ GUARDED_BY(mu_);
  const std::chrono::time_zone* zone_ GUARDED_BY(mu_) = nullptr;
  bool stopped_ GUARDED_BY(mu_) = false;

  LoadMonitor monitor_;
  std::unique_ptr<OwnerPresence> presence_;
  std::jthread schedule_;  // these three last: their threads use all of the above
};

}  // namespace gogrid

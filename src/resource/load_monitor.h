// Looks at what others use of the machine, every few seconds, and says whether to pause for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "resource/host_load.h"
#include "resource/load_decision.h"

namespace gogrid {

// One look, and what was decided at it. A value that does not change any more.
struct LoadView {
  LoadDecision decision;
  HostLoad host;
  Reading<Share> gpu_of_others;
};

// Where a look looks. Called by one thread at a time. What they throw makes the look's figures
// unknown.
struct LoadSources {
  std::function<HostLoad()>
      host;  // as HostLoadReader::read: the CPU's load since it was last called
  std::function<Reading<Share>()> gpu_of_others;  // of the busiest GPU in use; empty: none is asked
};

// The thread around decide(). Thread-safe. `clock` must outlive it; the destructor stops.
class LoadMonitor {
 public:
  // Told after each look, in their order. Must not call look() or stop().
  using Listener = std::function<void(const LoadDecision&)>;

  LoadMonitor(const PausePolicy& policy, LoadSources sources, const Clock& clock,
              Listener listener = {});
  ~LoadMonitor();
  LoadMonitor(const LoadMonitor&) = delete;
  LoadMonitor& operator=(const LoadMonitor&) = delete;

  // Looks at once and then every policy.check (at least kLeastInterval), in real time, on a thread
  // of its own. kExhausted when there can be no more threads; no effect once it runs or has
  // stopped.
  Status start() EXCLUDES(mu_);
  // No further look by the thread; waits for one that is under way. May be called again.
  void stop() EXCLUDES(mu_);

  // In force at the next look, which the thread makes at once where something is new.
  void set_policy(const PausePolicy& policy) EXCLUDES(mu_);

  // Looks now, and decides at clock.now(). Blocks as long as the sources do.
  std::shared_ptr<const LoadView> look() EXCLUDES(looking_, mu_);

  // Of the last look; lock-free.
  bool paused() const { return paused_.load(std::memory_order_acquire); }
  // Null before the first look.
  std::shared_ptr<const LoadView> last() const EXCLUDES(mu_);

  // More often, the CPU's load would be counted in too few ticks to be known.
  static constexpr std::chrono::milliseconds kLeastInterval{200};
  // The thread's looks find the load of this long before them. Over all of a long interval, a
  // load that began in the midst of it would be seen a whole interval late.
  static constexpr std::chrono::milliseconds kWindow{1000};

 private:
  void run();
  // False once stopped.
  bool wait_for_next() EXCLUDES(looking_, mu_);
  // False when a look is wanted before.
  bool rest_until(std::chrono::steady_clock::time_point due) EXCLUDES(mu_);
  void begin_window() EXCLUDES(looking_);
  LoadView read(const PausePolicy& policy) REQUIRES(looking_);
  std::shared_ptr<const LoadView> settle(LoadView view) EXCLUDES(mu_);

  const LoadSources sources_;
  const Clock& clock_;
  const Listener listener_;
  Mutex looking_;  // before mu_: one look at a time
  std::atomic<bool> paused_ = false;

  mutable Mutex mu_;
  CondVar changed_;
  PausePolicy policy_ GUARDED_BY(mu_);
  std::shared_ptr<const LoadView> last_ GUARDED_BY(mu_);
  bool look_now_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
  std::thread thread_ GUARDED_BY(mu_);
};

}  // namespace gogrid

// How little this process is in the way of others: nice, I/O class, scheduling policy, timer slack
// and OOM score of every thread, set by system calls and read back.
//
// Threads: Linux keeps all of these but the OOM score per thread, and a new thread begins with
// those of the thread that starts it. So whatever is started after apply() has them without being
// asked, and apply() itself lists the threads again until none is left that began meanwhile with
// the old values. What remains are libraries that set their own threads (a driver's, say):
// reapply() finds them, and costs little where there is nothing to do.
//
// Back up: anybody may lower a priority; raising it again needs CAP_SYS_NICE, or an RLIMIT_NICE
// (ulimit -e) of 20 less the nice value. Without, a process that was niced stays so until it ends,
// and the report says it. The OOM score goes back freely to what it was at the start.
//
// Cost, at ten threads: about 45 us for nice, I/O and policy. Timer slack adds 7 us for each other
// thread, since the kernel takes it by a file: set early, while there is one thread, it is free.
//
// A trap: nice and policy may count within a session only: see resource/autogroup.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "resource/priority_system.h"
#include "resource/resource_policy.h"

namespace gogrid {

// What is wanted. Empty: as it was found; what was never changed is not touched.
struct PrioritySettings {
  std::optional<int> nice = {};  // -20 (most urgent)..19; each step is about 10 % of CPU time
  std::optional<IoPriority> io = {};
  std::optional<SchedulingPolicy> policy = {};  // kIdle: only where nobody else wants the core
  // How late a sleep may end, so that wake-ups are taken together; the kernel's own is 50'000 ns.
  // More spares power and disturbs less, and makes each wait that much longer. At least 1.
  std::optional<std::uint64_t> timer_slack_ns = {};
  std::optional<int> oom_score = {};  // -1000 (never killed)..1000 (first)
  bool operator==(const PrioritySettings&) const = default;
};

// What a policy asks for: its nice value and I/O class in all modes; in the conservative mode also
// SCHED_IDLE, a timer slack of 1 ms, and to be killed before the owner's programs when memory runs
// out.
PrioritySettings priority_of(const ResourcePolicy& policy);

// What the kernel says of one thread, or why it does not.
struct ThreadPriority {
  int thread = 0;
  Answer<int> nice = std::unexpected(0);  // 0: was not asked
  Answer<IoPriority> io = std::unexpected(0);
  Answer<SchedulingPolicy> policy = std::unexpected(0);
  Answer<std::uint64_t> timer_slack_ns = std::unexpected(0);
};

struct PriorityItem {
  std::string_view name;      // "nice", "io", "policy", "timer_slack_ns", "oom_score_adj"
  std::string wanted = {};    // empty: not touched
  std::string in_force = {};  // of all threads: "10", or "10 (9 threads), 0 (1 thread)"
  bool as_wanted = true;
  std::string warning = {};  // why not, and the privilege that is missing; empty: nothing to say
};

struct PriorityReport {
  std::vector<PriorityItem> items;      // all five, in the order of PrioritySettings
  std::vector<ThreadPriority> threads;  // read back after setting
  std::string warning;                  // of the whole: the threads could not be listed

  bool as_wanted() const;
};

// Thread-safe: one change at a time.
class ProcessPriority {
 public:
  // Remembers the priority of the calling thread, for restore(): call it before anything is set.
  explicit ProcessPriority(std::unique_ptr<PrioritySystem> system);

  // Sets what differs in every thread. What is not permitted is a warning in the report.
  PriorityReport apply(const PrioritySettings& wanted) EXCLUDES(mu_);
  // The last apply() once more, for threads that have changed their own since.
  PriorityReport reapply() EXCLUDES(mu_);
  // apply() of nothing: back to what was found, as far as that is permitted. A real-time policy is
  // not restored.
  PriorityReport restore() EXCLUDES(mu_);
  // What is in force beside what was asked for last. Sets nothing.
  PriorityReport read() EXCLUDES(mu_);

  const PrioritySettings& found() const { return found_; }

 private:
  const std::unique_ptr<PrioritySystem> system_;
  const PrioritySettings found_;
  Mutex mu_;
  PrioritySettings wanted_ GUARDED_BY(mu_);  // filled up with what was found
};

// "idle", "best effort 4", "none", "real time 0".
std::string text_of(IoPriority io);
// "SCHED_OTHER", "SCHED_IDLE", …
std::string text_of(SchedulingPolicy policy);

}  // namespace gogrid

// Minutes of work outside a server, as a guest: by the policy of the data folder.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "app/guest.h"
#include "app/terminal.h"
#include "app/workspace.h"
#include "base/clock.h"
#include "base/result.h"
#include "cli/options.h"
#include "resource/governor.h"
#include "resource/policy_store.h"

namespace gogrid {

// Holds for a job what holds for a server: the priority at once and in every thread; pauses for the
// load of others, on battery, in heat and in quiet hours, and rests for max_compute, between two
// pieces of its work, however long a piece is. Begin it before any other thread.
//
// Not thread-safe: to be asked by one thread at a time.
class LongJob {
 public:
  // By --config, --mode and --limit, and people's changes (policy.json) over them. `what` is for
  // people: "quantizing smollm2-135m".
  static Result<std::unique_ptr<LongJob>> begin(const Workspace& workspace,
                                                const PolicyOptions& options, std::string what);
  ~LongJob() { watch_.stop(); }
  LongJob(const LongJob&) = delete;
  LongJob& operator=(const LongJob&) = delete;

  // Between two pieces: returns once the next may begin, or false once `stop` is requested. Says on
  // standard error why it waits, once for each pause.
  bool rest(const std::stop_token& stop = {});
  // The same before the first piece: waits for a pause only, and counts work from here on.
  bool start(const std::stop_token& stop = {});
  // For work that is not done in pieces: whether it may go on now, and if not, why.
  bool runs() const { return governor_.runs(); }
  std::string why_paused() const { return governor_.state().why; }

  const Clock& clock() const { return clock_; }
  ResourcePolicy policy() const { return *policies_->current(); }

 private:
  LongJob(std::unique_ptr<PolicyStore> policies, QuietHours quiet_hours, std::string what);

  const std::string what_;
  const SteadyClock clock_;
  const std::unique_ptr<ProcessPriority> priority_ = make_priority();
  const std::unique_ptr<PolicyStore> policies_;
  Governor governor_{clock_};
  HostLoadReader host_;
  Telemetry gpus_;
  MachineWatch watch_;
  TimePoint begun_;  // of the piece that is being done
};

// For functions that report bytes: shows them, rests between two reports (of those that come within
// 20 ms, after the last), and ends them once `stop` is requested. Must not outlive either.
Progress resting(LongJob& job, ProgressLine& line, const std::stop_token& stop = {});

}  // namespace gogrid

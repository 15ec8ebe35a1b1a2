#include "app/long_job.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "app/policies.h"
#include "app/terminal.h"
#include "device/gpu_sources.h"
#include "resource/duty_cycle.h"

namespace gogrid {
namespace {

// A shorter rest would be longer than it is meant to be.
constexpr std::chrono::milliseconds kShortestWork{20};

// Returns at `until`, or once `stop` is requested.
void sleep_until(TimePoint until, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_until(lock, stop, until, [] { return false; });
}

}  // namespace

Result<std::unique_ptr<LongJob>> LongJob::begin(const Workspace& workspace,
                                                const PolicyOptions& options, std::string what) {
  GOGRID_ASSIGN_OR_RETURN(const Config config, config_of(options));
  GOGRID_ASSIGN_OR_RETURN(auto policies, open_policies(config, workspace));
  std::unique_ptr<LongJob> job(
      new LongJob(std::move(policies), config.quiet_hours, std::move(what)));
  GOGRID_RETURN_IF_ERROR(job->watch_.start());
  return job;
}

LongJob::LongJob(std::unique_ptr<PolicyStore> policies, QuietHours quiet_hours, std::string what)
    : what_(std::move(what)),
      policies_(std::move(policies)),
      gpus_(make_gpu_sources(clock_), clock_),
      watch_(*policies_, governor_, std::move(quiet_hours), watch_sources(host_, gpus_), clock_),
      begun_(clock_.now()) {
  if (priority_ == nullptr) return;
  policies_->listen([this](const PolicyStore::Snapshot& policy) {
    warn_of(priority_->apply(priority_of(*policy)));
  });
}

bool LongJob::rest(const std::stop_token& stop) {
  sleep_until(rests_until(begun_, clock_.now(), policies_->current()->max_compute), stop);
  return start(stop);
}

bool LongJob::start(const std::stop_token& stop) {
  if (!governor_.runs()) {
    complain("paused (" + governor_.state().why + "): " + what_ + " goes on when the pause ends");
  }
  const bool goes_on = governor_.wait(stop);
  begun_ = clock_.now();
  return goes_on && !stop.stop_requested();
}

Progress resting(LongJob& job, ProgressLine& line, const std::stop_token& stop) {
  return [&job, show = line.bytes(), stop, rested = job.clock().now()](Bytes done,
                                                                       Bytes total) mutable {
    show(done, total);
    if (job.clock().now() - rested < kShortestWork && job.runs()) return !stop.stop_requested();
    const bool goes_on = job.rest(stop);
    rested = job.clock().now();
    return goes_on;
  };
}

}  // namespace gogrid

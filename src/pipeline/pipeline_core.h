// What the threads of a pipeline share: the links between the stages and the steps on their way.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "pipeline/pipeline.h"
#include "resource/device_duty.h"
#include "stage/stage.h"

namespace gogrid {

// A step on its way; owned by the link it waits in, or by the stage thread that runs it.
struct Step {
  StageInput input;
  std::vector<RowFault> faults;
  Duration busy{};
};

// Owned jointly by the pipeline and its stage threads. A stage that hangs in the backend cannot be
// interrupted; its thread is then left behind with this as the only thing of ours that it may still
// touch, and everything it does here once it is left behind has no effect.
//
// Thread-safe.
class PipelineCore final : public DutyListener {
 public:
  PipelineCore(std::vector<StageSpec> specs, const PipelineOptions& options, const Clock& clock,
               StepDone done);

  std::size_t size() const { return lanes_.size(); }
  const StageSpec& spec(std::size_t lane) const { return lanes_[lane].spec; }
  const std::string& name(std::size_t lane) const { return lanes_[lane].name; }
  const PipelineOptions& options() const { return options_; }

  // For the stage threads.
  void report_progress(std::size_t lane, double share) EXCLUDES(mu_);
  void report_loaded(std::size_t lane, const StageMemory& memory) EXCLUDES(mu_);
  void report_load_failure(std::size_t lane, Error error) EXCLUDES(mu_);
  // An exception that nothing below caught.
  void report_thread_failure(std::size_t lane, Error error) EXCLUDES(mu_);
  // False when the stop came first.
  bool wait_before_retry(Duration delay) EXCLUDES(mu_);
  std::stop_token stop_token() const { return stop_.get_token(); }
  // The lane's next step; null when there will be none. Steps that an earlier one has taken with it
  // are answered here.
  std::unique_ptr<Step> take(std::size_t lane) EXCLUDES(mu_);
  void finish(std::size_t lane, std::unique_ptr<Step> step, Result<StageOutput> output)
      EXCLUDES(mu_);
  void report_ended(std::size_t lane) EXCLUDES(mu_);

  // Some device may be computed on again.
  void duty_changed() override EXCLUDES(mu_);

  // For the builder.
  struct LoadState {
    bool all_loaded = false;
    std::optional<Error> failure;
    double progress = 0.0;  // mean over the stages
  };
  // Waits until something changed, or for a tick; fails the load when it has stalled.
  LoadState wait_for_load() EXCLUDES(mu_);
  void start_running() EXCLUDES(mu_);

  // For the pipeline.
  Result<std::uint64_t> submit(StageInput input) EXCLUDES(mu_);
  std::vector<StageStatus> stages() const EXCLUDES(mu_);
  std::optional<Error> failure() const EXCLUDES(mu_);
  // Looks for passed deadlines until closed.
  void watch() EXCLUDES(mu_);
  // Refuses new steps, answers kCancelled for those that no stage has begun, returns when all have
  // been answered.
  void close() EXCLUDES(mu_);
  // No more work for any lane: threads end as soon as they can.
  void end_threads() EXCLUDES(mu_);
  // Waits for the lane's thread to end. False when it hangs: it is left behind.
  bool wait_until_ended(std::size_t lane) EXCLUDES(mu_);
  void stop_watching() EXCLUDES(mu_);

 private:
  enum class LaneState : std::uint8_t { kLoading, kLoaded, kEnded, kLeftBehind };
  struct Queued {
    std::unique_ptr<Step> step;
    TimePoint since;
  };
  struct Lane {
    StageSpec spec;    // constant
    std::string name;  // constant
    // Guarded by mu_, as a whole.
    LaneState state = LaneState::kLoading;
    double progress = 0.0;
    TimePoint since;                       // last progress, begin of the step, begin of the end
    std::optional<std::uint64_t> running;  // number of the step in forward()
    std::deque<Queued> queue;
    std::optional<DeviceDuty::Turn> turn;  // of the running step; given back without mu_
    Duration starved{};                    // of the running step's time
    TimePoint rested;  // or waited for others on its device: so far, when last looked at
    StageStatus status;
    CondVar work;
  };
  struct InFlight {
    std::uint64_t number = 0;
    std::vector<SlotId> slots;    // of its rows, each once
    std::optional<Error> doomed;  // an earlier step of one of its slots has failed so
  };
  struct Answer {
    std::uint64_t step;
    Result<StageOutput> output;
    std::string failed_stage;
  };

  // Whether the lane may compute now; it then has its turn.
  bool begin_turn(Lane& lane) REQUIRES(mu_);
  TimePoint free_at(const Lane& lane) const REQUIRES(mu_);
  std::unique_ptr<Step> wait_for_step(Lane& lane) REQUIRES(mu_);
  void advance_or_answer(std::size_t index, std::unique_ptr<Step> step, StageOutput output,
                         std::vector<Answer>& answers) REQUIRES(mu_);
  void enqueue(std::size_t index, std::unique_ptr<Step> step) REQUIRES(mu_);
  std::optional<Error> check_output(std::size_t index, const Step& step,
                                    const StageOutput& output) const;
  void fail_pipeline(std::size_t index, Error error, std::optional<std::uint64_t> step,
                     std::vector<Answer>& answers) REQUIRES(mu_);
  InFlight* find(std::uint64_t step) REQUIRES(mu_);
  void forget(std::uint64_t step) REQUIRES(mu_);
  void answer_error(std::size_t index, std::uint64_t step, Error error,
                    std::vector<Answer>& answers) REQUIRES(mu_);
  void excuse_starvation(TimePoint now) REQUIRES(mu_);
  void check_deadlines(TimePoint now, std::vector<Answer>& answers) REQUIRES(mu_);
  void check_load_stall(TimePoint now) REQUIRES(mu_);
  bool overdue(const Lane& lane, TimePoint now) const REQUIRES(mu_);
  Error refusal() const REQUIRES(mu_);
  // Calls done_ without the lock; close() waits for it.
  void deliver(std::vector<Answer> answers) EXCLUDES(mu_);

  const PipelineOptions options_;
  const Clock& clock_;
  const StepDone done_;
  const Duration tick_;  // how often deadlines are looked at, in real time
  std::stop_source stop_;

  mutable Mutex mu_;
  CondVar changed_;         // load progress, an answered step, an ended thread
  CondVar watch_;           // for watch()
  std::deque<Lane> lanes_;  // the deque is constant, its elements are guarded by mu_ as they say
  std::vector<InFlight> in_flight_ GUARDED_BY(mu_);  // in order of their numbers
  std::uint64_t last_step_ GUARDED_BY(mu_) = 0;
  std::size_t delivering_ GUARDED_BY(mu_) = 0;
  std::optional<Error> failure_ GUARDED_BY(mu_);
  struct DelaySeen {
    TimePoint at;
    Duration delay;
  };
  std::optional<DelaySeen> delay_seen_ GUARDED_BY(mu_);  // while a step is slow
  bool loading_ GUARDED_BY(mu_) = true;
  bool closing_ GUARDED_BY(mu_) = false;
  bool ending_ GUARDED_BY(mu_) = false;
  bool watching_ GUARDED_BY(mu_) = true;
  bool watcher_idle_ GUARDED_BY(mu_) = false;
};

// The life of a stage: made, called and destroyed on this thread.
void run_stage_thread(const std::shared_ptr<PipelineCore>& core, std::size_t lane,
                      StageFactory& factory);

}  // namespace gogrid

// The stages of one plan, in order, each on its own thread, with bounded links between them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "resource/device_duty.h"
#include "resource/host_text.h"
#include "stage/stage.h"

namespace gogrid {

struct PipelineOptions {
  std::uint64_t epoch = 1;
  std::uint32_t steps_in_flight = 1;  // groups; also the capacity of each link. >= 1
  Duration step_deadline = std::chrono::seconds(30);      // one stage, one step
  Duration transfer_deadline = std::chrono::seconds(60);  // waiting for a place in the next link
  Duration load_stall = std::chrono::minutes(5);  // a load without progress for so long has failed
  // How long a stage that hangs (a step past its deadline, a load told to stop) is waited for
  // before its thread is left behind.
  Duration hang_grace = std::chrono::seconds(5);
  // How long this process's threads have waited for a core so far (resource/run_delay.h): others
  // may starve a quiet process for long, and what it waited for them counts for no deadline. Asked
  // only while a step is slow. Empty: not known.
  std::function<Reading<Duration>()> run_delay = {};
  // When a device may be computed on, beside other pipelines; asked before each step, so that a
  // change is in force with the next. Null: always.
  std::shared_ptr<DeviceDuty> duty = nullptr;
};

struct StepResult {
  std::uint64_t step = 0;
  Result<StageOutput> output;  // of the last stage, or the first error on the way
  std::string failed_stage;    // "stage 1 (layers 15-30 on cpu-b)" when output is an error
};

struct StageStatus {
  LayerRange layers;
  std::string device;
  StageMemory memory;  // what the backend took
  std::uint64_t steps = 0;
  Duration busy{};  // in forward(), since load
  std::uint32_t queued = 0;
};

// Where finished steps go. Called on a stage thread; must not block.
using StepDone = std::function<void(StepResult)>;
using LoadProgress = std::function<void(double share)>;

// Thread-safe. Destroying it refuses new steps, lets the running ones finish, calls `done` for
// every accepted step (kCancelled for those that never began), joins all threads and leaves nothing
// behind. Only a stage that hangs past its deadline and `hang_grace` cannot be waited for: its
// thread is left behind, owns what it still touches (the stage, its input), and destroys it should
// it ever come back; the log says so. After a stage has failed with anything but kExhausted,
// kCorrupt or kCancelled the pipeline is failed: every later submit answers kUnavailable with the
// reason.
class Pipeline {
 public:
  // All stages or none, built side by side. kDeadline when a load stalls; otherwise the first
  // stage's error, prefixed by its name; kIo and kUnavailable are tried three times with back-off.
  // `stop` ends the load. `progress` is called on the caller's thread.
  //
  // `factory` and `clock` must outlive the pipeline, and `factory` also a stage that hangs in
  // make() and was left behind: let it live as long as the process.
  static Result<std::unique_ptr<Pipeline>> build(std::vector<StageSpec> stages,
                                                 StageFactory& factory,
                                                 const PipelineOptions& options, const Clock& clock,
                                                 StepDone done, const LoadProgress& progress,
                                                 std::stop_token stop);
  virtual ~Pipeline() = default;

  // Accepts a step (its epoch and number are set here) or says why not: kExhausted when
  // `steps_in_flight` steps are in flight, kUnavailable when failed or closing. `done` is called
  // exactly once for every accepted step. Steps run in order on every stage, so a sequence may have
  // several in flight (chunks of its prompt); when one ends with an error, so do the later ones of
  // its slots. Returns the step's number.
  virtual Result<std::uint64_t> submit(StageInput input) = 0;

  virtual std::vector<StageStatus> stages() const = 0;
  // Empty while it works; else why it does not.
  virtual std::optional<Error> failure() const = 0;
};

}  // namespace gogrid

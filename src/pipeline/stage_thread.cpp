// The life of one stage, on its own thread.
#include <exception>
#include <random>
#include <utility>

#include "obs/log.h"
#include "pipeline/backoff.h"
#include "pipeline/pipeline_core.h"

namespace gogrid {
namespace {

double random_share() {
  std::random_device device;
  return static_cast<double>(device()) / static_cast<double>(std::random_device::max());
}

// A make() that failed has left nothing behind, so it may be repeated; what may have changed by
// then is a file system or a node that was away.
bool worth_another_try(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kUnavailable;
}

Result<std::unique_ptr<Stage>> make_once(PipelineCore& core, std::size_t lane,
                                         StageFactory& factory) {
  try {
    auto stage = factory.make(
        core.spec(lane), [&](double share) { core.report_progress(lane, share); },
        core.stop_token());
    if (stage && *stage == nullptr) return fail(ErrorCode::kInternal, "a stage expected: none");
    return stage;
  } catch (const std::exception& thrown) {
    return fail(ErrorCode::kInternal, thrown.what());
  }
}

Result<std::unique_ptr<Stage>> make(PipelineCore& core, std::size_t lane, StageFactory& factory) {
  for (int attempt = 1;; ++attempt) {
    auto stage = make_once(core, lane, factory);
    if (stage || attempt == kMaxTries || !worth_another_try(stage.error().code)) return stage;
    log::warning("stage_load_retried",
                 {{"stage", core.name(lane)}, {"error", stage.error().message}});
    if (!core.wait_before_retry(backoff(attempt, random_share()))) return stage;
  }
}

Result<StageOutput> run_once(Stage& stage, StageInput& input, std::stop_token stop) {
  try {
    return stage.forward(input, std::move(stop));
  } catch (const std::exception& thrown) {
    return fail(ErrorCode::kInternal, thrown.what());
  }
}

void run_steps(PipelineCore& core, std::size_t lane, Stage& stage) {
  while (auto step = core.take(lane)) {
    auto output = run_once(stage, step->input, core.stop_token());
    core.finish(lane, std::move(step), std::move(output));
  }
}

void live(PipelineCore& core, std::size_t lane, StageFactory& factory) {
  auto stage = make(core, lane, factory);
  if (!stage) return core.report_load_failure(lane, std::move(stage).error());
  core.report_loaded(lane, (*stage)->memory());
  run_steps(core, lane, **stage);
}

}  // namespace

void run_stage_thread(const std::shared_ptr<PipelineCore>& core, std::size_t lane,
                      StageFactory& factory) {
  try {
    live(*core, lane, factory);
  } catch (const std::exception& thrown) {
    core->report_thread_failure(lane, Error{ErrorCode::kInternal, thrown.what()});
  }
  core->report_ended(lane);
}

}  // namespace gogrid

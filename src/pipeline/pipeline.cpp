#include "pipeline/pipeline.h"

#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "base/format.h"
#include "obs/log.h"
#include "pipeline/pipeline_core.h"

namespace gogrid {
namespace {

// Joins each stage thread, or leaves it behind when it hangs. The core must have been told to end
// them.
void end_all(PipelineCore& core, std::vector<std::thread>& threads) {
  core.end_threads();
  for (std::size_t i = 0; i < threads.size(); ++i) {
    if (core.wait_until_ended(i)) {
      threads[i].join();
    } else {
      threads[i].detach();
    }
  }
  threads.clear();
}

Status start_threads(const std::shared_ptr<PipelineCore>& core, StageFactory& factory,
                     std::vector<std::thread>& threads) {
  try {
    for (std::size_t i = 0; i < core->size(); ++i) {
      threads.emplace_back([core, i, &factory] { run_stage_thread(core, i, factory); });
    }
    return {};
  } catch (const std::system_error& refused) {
    return fail(ErrorCode::kExhausted, format_text("[pipeline] a thread for each of {} stages: {}",
                                                   core->size(), refused.what()));
  }
}

Status wait_for_load(PipelineCore& core, const LoadProgress& progress,
                     const std::stop_token& stop) {
  double reported = -1.0;
  for (;;) {
    const auto state = core.wait_for_load();
    if (stop.stop_requested()) return fail(ErrorCode::kCancelled, "[pipeline] load stopped");
    if (state.failure) return std::unexpected(*state.failure);
    if (progress && state.progress > reported) progress(reported = state.progress);
    if (state.all_loaded) return {};
  }
}

class StagedPipeline final : public Pipeline {
 public:
  StagedPipeline(std::shared_ptr<PipelineCore> core, std::vector<std::thread> threads)
      : core_(std::move(core)),
        threads_(std::move(threads)),
        watcher_([core = core_] { core->watch(); }) {}

  ~StagedPipeline() override {
    core_->close();
    end_all(*core_, threads_);
    core_->stop_watching();
  }

  Result<std::uint64_t> submit(StageInput input) override {
    return core_->submit(std::move(input));
  }
  std::vector<StageStatus> stages() const override { return core_->stages(); }
  std::optional<Error> failure() const override { return core_->failure(); }

 private:
  const std::shared_ptr<PipelineCore> core_;
  std::vector<std::thread> threads_;
  std::jthread watcher_;
};

}  // namespace

Result<std::unique_ptr<Pipeline>> Pipeline::build(
    std::vector<StageSpec> stages, StageFactory& factory, const PipelineOptions& options,
    const Clock& clock, StepDone done, const LoadProgress& progress, std::stop_token stop) {
  if (stages.empty() || options.steps_in_flight == 0) {
    return fail(ErrorCode::kInvalidArgument,
                "[pipeline] at least one stage and one step in flight expected: none");
  }
  auto core = std::make_shared<PipelineCore>(std::move(stages), options, clock, std::move(done));
  if (options.duty != nullptr) options.duty->listen(core);
  std::vector<std::thread> threads;
  auto loaded = start_threads(core, factory, threads);
  if (loaded) loaded = wait_for_load(*core, progress, stop);
  if (!loaded) {
    end_all(*core, threads);
    return std::unexpected(std::move(loaded).error());
  }
  core->start_running();
  return std::make_unique<StagedPipeline>(std::move(core), std::move(threads));
}

}  // namespace gogrid

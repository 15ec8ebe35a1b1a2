#include "app/plan_loss.h"

#include <utility>

#include "app/loss_json.h"
#include "app/text_tokens.h"
#include "base/sha256.h"
#include "engine/loss_text.h"
#include "engine/stage_loss.h"
#include "engine/stage_loss_cache.h"
#include "model/gguf_file.h"
#include "obs/log.h"

namespace gogrid {
namespace {

StageLossQuestion question_of(const PreparedModel& prepared, const GgufFile& file,
                              const TextTokens& text, const Workspace& workspace) {
  StageLossQuestion question;
  question.model = prepared.source.name;
  question.file = &file;
  question.profile = &prepared.profile;
  question.digest = prepared.source.digest;
  question.stages = prepared.plan.stages;
  question.devices = prepared.devices;
  question.tokens = text.tokens;
  question.begin_token = text.begin_token;
  question.scratch = workspace.slices();
  return question;
}

Result<ModelLoss> find_or_measure(const PreparedModel& prepared, const Workspace& workspace,
                                  StageFactory& factory, const StageLossProgress& progress,
                                  const std::stop_token& stop) {
  const StageLossCache cache(workspace.measurements());
  const auto ranges = smaller_ranges(prepared.plan);
  Sha256 hash;
  hash.update(loss_text());
  if (auto kept = cache.find(prepared.source.digest, ranges, hash.finish()))
    return *std::move(kept);
  GOGRID_ASSIGN_OR_RETURN(const TextTokens text,
                          tokens_of_content(std::string(loss_text()), prepared.source.path));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(prepared.source.path));
  const SliceCache slices(workspace.slices(), kSliceCapacity);
  GOGRID_ASSIGN_OR_RETURN(ModelLoss loss,
                          measure_stage_loss(question_of(prepared, file, text, workspace), factory,
                                             slices, &process_wide_ledger(), progress, stop));
  loss.text_digest = text.digest;
  if (const Status kept = cache.keep({ranges, loss}); !kept)
    log::warning("loss_not_kept", {{"why", std::string_view(kept.error().message)}});
  return loss;
}

// What says nothing about the model: it serves without the number, and says that there is none.
bool is_no_failure(const Error& error) {
  return is_for_memory(error.code) || error.code == ErrorCode::kInvalidArgument ||
         error.code == ErrorCode::kUnsupported;
}

}  // namespace

Status add_loss(PreparedModel& prepared, const Workspace& workspace, StageFactory& factory,
                const Governor* governor, const std::function<void(double)>& progress,
                const std::stop_token& stop) {
  if (!has_smaller_stages(prepared.plan)) return {};
  auto loss = find_or_measure(
      prepared, workspace, factory,
      [&](double share) {
        progress(share);
        return wait_to_run(governor, stop);
      },
      stop);
  if (loss) {
    prepared.plan.loss = *std::move(loss);
  } else if (is_no_failure(loss.error())) {
    prepared.plan.why.push_back("loss not measured: " + loss.error().message);
    return {};
  } else {
    return std::unexpected(std::move(loss).error());
  }
  prepared.plan.why.push_back("loss measured over " +
                              std::to_string(prepared.plan.loss->positions) +
                              " positions of a built-in text: " + text_of(*prepared.plan.loss));
  return {};
}

std::string smaller_stages_notice(const Plan& plan) {
  if (!has_smaller_stages(plan)) return {};
  return smaller_stages_text(plan) + " instead of the model's own weights: " +
         (plan.loss ? text_of(*plan.loss) : plan.why.back());
}

}  // namespace gogrid

#include "engine/text_run.h"

#include <algorithm>
#include <utility>

#include "model/memory_estimator.h"

namespace gogrid {
namespace {

MemoryQuestion memory_question(const StageSpec& spec) {
  return {.layers = spec.layers,
          .context = spec.context,
          .parallel = spec.parallel,
          .max_step_rows = spec.max_step_rows,
          .max_outputs = spec.max_outputs};
}

}  // namespace

StageInput rows_of(std::uint64_t step, std::span<const Token> chunk, std::size_t from,
                   std::size_t to, bool wanted) {
  StageInput input;
  input.step = step;
  if (from == 0) input.kv_ops.push_back({});
  for (std::size_t i = from; i < to; ++i) {
    input.rows.push_back({.slot = 0,
                          .position = static_cast<std::int32_t>(i),
                          .token = chunk[i],
                          .wants_output = wanted});
    if (wanted) input.outputs.push_back({.sampling = {}, .history = {}, .raw_logits = true});
  }
  return input;
}

Result<TextRun> TextRun::load(const LossSide& model, const Device& device, std::uint32_t context,
                              std::string_view holder, StageFactory& factory, MemoryLedger& ledger,
                              const std::stop_token& stop) {
  StageSpec spec;
  spec.model = model.name;
  spec.path = model.path;
  spec.layers = {0, model.profile.n_layers};
  spec.n_layers = model.profile.n_layers;
  spec.device = device;
  spec.context = context;
  spec.parallel = 1;
  spec.max_step_rows = std::min(context, kMostRows);
  spec.max_outputs = kRowsAtOnce;
  // libllama's buffer for them grows with the first step, and they are copied out of it.
  const Bytes logits = 2 * Bytes{kRowsAtOnce} * model.profile.n_vocab * sizeof(float);
  StageNeed need{device.id, estimate_memory(model.profile, memory_question(spec))};
  need.memory.compute += logits;
  GOGRID_ASSIGN_OR_RETURN(auto leases, lease_stages(ledger, holder, {&need, 1}));
  spec.leases = leases.front();
  GOGRID_ASSIGN_OR_RETURN(auto stage, factory.make(spec, {}, stop));
  StageMemory taken = stage->memory();
  if (taken.total() > 0) taken.compute += logits;
  GOGRID_RETURN_IF_ERROR(settle(leases, {&taken, 1}));
  return TextRun(std::move(stage));
}

Result<std::vector<SampledRow>> TextRun::run(std::span<const Token> chunk, std::size_t from,
                                             std::size_t to, bool wanted,
                                             const std::stop_token& stop) {
  StageInput input = rows_of(++steps_, chunk, from, to, wanted);
  GOGRID_ASSIGN_OR_RETURN(StageOutput output, stage_->forward(input, stop));
  return std::move(output.sampled);
}

Status TextRun::run_context(std::span<const Token> chunk, std::size_t to,
                            const std::stop_token& stop) {
  for (std::size_t from = 0; from < to; from += kMostRows)
    GOGRID_RETURN_IF_ERROR(
        run(chunk, from, std::min<std::size_t>(from + kMostRows, to), false, stop));
  return {};
}

}  // namespace gogrid

#include "engine/importance_measurement.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "model/memory_estimator.h"

namespace gogrid {
namespace {

// Rows of one call: libllama keeps the logits of all, since it would otherwise leave rows out of
// the last layer.
constexpr std::uint32_t kRowsAtOnce = 128;

// Lets nothing through before it is open: what a stage tries itself out with when it is made is
// none of the text.
class Turnstile final : public ActivationSink {
 public:
  explicit Turnstile(ActivationSink& behind) : behind_(behind) {}
  void open() { open_ = true; }
  void add(const Activation& activation) noexcept override {
    if (open_) behind_.add(activation);
  }

 private:
  ActivationSink& behind_;
  bool open_ = false;
};

StageSpec spec_of(const ImportanceQuestion& question, ActivationSink& sink) {
  StageSpec spec;
  spec.model = question.model.name;
  spec.path = question.model.path;
  spec.layers = {0, question.model.profile.n_layers};
  spec.n_layers = question.model.profile.n_layers;
  spec.device = question.device;
  spec.context = question.context;
  spec.parallel = 1;
  spec.max_step_rows = spec.max_outputs = std::min(question.context, kRowsAtOnce);
  spec.activations = &sink;
  return spec;
}

Result<std::unique_ptr<Stage>> load(const ImportanceQuestion& question, StageSpec& spec,
                                    StageFactory& factory, MemoryLedger& ledger,
                                    const std::stop_token& stop) {
  const ModelProfile& profile = question.model.profile;
  StageNeed need{question.device.id, estimate_memory(profile, {.layers = spec.layers,
                                                               .context = spec.context,
                                                               .parallel = spec.parallel,
                                                               .max_step_rows = spec.max_step_rows,
                                                               .max_outputs = spec.max_outputs})};
  const Bytes logits = Bytes{spec.max_outputs} * profile.n_vocab * sizeof(float);
  need.memory.compute += logits;
  GOGRID_ASSIGN_OR_RETURN(
      const auto leases,
      lease_stages(ledger, "importance matrix of " + question.model.name, {&need, 1}));
  spec.leases = leases.front();
  GOGRID_ASSIGN_OR_RETURN(auto stage, factory.make(spec, {}, stop));
  StageMemory taken = stage->memory();
  if (taken.total() > 0) taken.compute += logits;
  GOGRID_RETURN_IF_ERROR(settle(leases, {&taken, 1}));
  return stage;
}

// Not interrupted: the sums are of whole chunks.
Status run_chunk(std::span<const Token> chunk, Stage& stage, std::uint32_t rows_at_once) {
  const auto greedy = std::make_shared<SamplingSpec>();
  greedy->temperature = 0;
  OutputSpec output;
  output.sampling = greedy;
  for (std::size_t from = 0; from < chunk.size(); from += rows_at_once) {
    const std::size_t to = std::min(from + rows_at_once, chunk.size());
    StageInput input;
    if (from == 0) input.kv_ops.push_back({});
    for (std::size_t i = from; i < to; ++i) {
      input.rows.push_back({.slot = 0,
                            .position = static_cast<std::int32_t>(i),
                            .token = chunk[i],
                            .wants_output = true});
      input.outputs.push_back(output);
    }
    GOGRID_RETURN_IF_ERROR(stage.forward(input, {}));
  }
  return {};
}

Status measure_here(const ImportanceQuestion& question, StageFactory& factory, MemoryLedger& ledger,
                    ImportanceCollector& collector, const ChunkProgress& progress,
                    const std::stop_token& stop) {
  GOGRID_ASSIGN_OR_RETURN(
      const std::uint32_t chunks,
      count_chunks(question.tokens.size(), question.context, question.max_chunks));
  if (question.first_chunk >= chunks) return {};
  Turnstile gate(collector);
  StageSpec spec = spec_of(question, gate);
  GOGRID_ASSIGN_OR_RETURN(const auto stage, load(question, spec, factory, ledger, stop));
  gate.open();
  for (std::uint32_t i = question.first_chunk; i < chunks; ++i) {
    if (!progress(i, chunks)) return fail(ErrorCode::kCancelled, "[imatrix] stopped");
    const auto chunk = chunk_at(question.tokens, i, question.context, question.begin_token);
    GOGRID_RETURN_IF_ERROR(run_chunk(chunk, *stage, spec.max_step_rows));
    GOGRID_RETURN_IF_ERROR(collector.status());
  }
  if (!progress(chunks, chunks)) return fail(ErrorCode::kCancelled, "[imatrix] stopped");
  return {};
}

}  // namespace

Status measure_importance(const ImportanceQuestion& question, StageFactory& factory,
                          MemoryLedger& ledger, ImportanceCollector& collector,
                          const ChunkProgress& progress, const std::stop_token& stop) {
  Status result = fail(ErrorCode::kInternal, "[imatrix] not run");
  std::thread([&] {
    try {
      result = measure_here(question, factory, ledger, collector, progress, stop);
    } catch (const std::exception& error) {
      result = fail(ErrorCode::kInternal, std::string("[imatrix] ") + error.what());
    }
  }).join();
  return result;
}

}  // namespace gogrid

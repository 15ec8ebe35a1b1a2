#include "engine/loss_measurement.h"

#include <algorithm>
#include <exception>
#include <format>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "engine/loss_tally.h"
#include "model/memory_estimator.h"

namespace gogrid {
namespace {

// Rows whose logits are in memory at once, of both models: 25 MiB of a vocabulary of 50,000 tokens.
constexpr std::uint32_t kRowsAtOnce = 64;
constexpr std::uint32_t kMaxStepRows = 512;
constexpr std::uint32_t kFewestChunks = 2;

// One model, its leases, and where it is in a chunk.
class Side {
 public:
  static Result<Side> load(const LossSide& side, const LossQuestion& question,
                           StageFactory& factory, MemoryLedger& ledger,
                           const std::stop_token& stop) {
    StageSpec spec;
    spec.model = side.name;
    spec.path = side.path;
    spec.layers = {0, side.profile.n_layers};
    spec.n_layers = side.profile.n_layers;
    spec.device = question.device;
    spec.context = question.context;
    spec.parallel = 1;
    spec.max_step_rows = std::min(question.context, kMaxStepRows);
    spec.max_outputs = kRowsAtOnce;
    // libllama's buffer for them grows with the first step, and they are copied out of it.
    const Bytes logits = 2 * Bytes{kRowsAtOnce} * side.profile.n_vocab * sizeof(float);
    StageNeed need{question.device.id, estimate_memory(side.profile, memory_question(spec))};
    need.memory.compute += logits;
    GOGRID_ASSIGN_OR_RETURN(auto leases, lease_stages(ledger, "loss of " + side.name, {&need, 1}));
    spec.leases = leases.front();
    GOGRID_ASSIGN_OR_RETURN(auto stage, factory.make(spec, {}, stop));
    StageMemory taken = stage->memory();
    if (taken.total() > 0) taken.compute += logits;
    GOGRID_RETURN_IF_ERROR(settle(leases, {&taken, 1}));
    return Side(std::move(stage));
  }

  // Rows [from, to) of a chunk; the first forgets what was before. Logits of each when `wanted`.
  Result<std::vector<SampledRow>> run(std::span<const Token> chunk, std::size_t from,
                                      std::size_t to, bool wanted, const std::stop_token& stop) {
    StageInput input;
    input.step = ++steps_;
    if (from == 0) input.kv_ops.push_back({});
    for (std::size_t i = from; i < to; ++i) {
      input.rows.push_back({.slot = 0,
                            .position = static_cast<std::int32_t>(i),
                            .token = chunk[i],
                            .wants_output = wanted});
      if (wanted) input.outputs.push_back({.sampling = {}, .history = {}, .raw_logits = true});
    }
    GOGRID_ASSIGN_OR_RETURN(StageOutput output, stage_->forward(input, stop));
    return std::move(output.sampled);
  }

 private:
  explicit Side(std::unique_ptr<Stage> stage) : stage_(std::move(stage)) {}
  static MemoryQuestion memory_question(const StageSpec& spec) {
    return {.layers = spec.layers,
            .context = spec.context,
            .parallel = spec.parallel,
            .max_step_rows = spec.max_step_rows,
            .max_outputs = spec.max_outputs};
  }

  std::unique_ptr<Stage> stage_;
  std::uint64_t steps_ = 0;
};

// The first half is context only; the last token has nothing to predict.
Status run_chunk(std::span<const Token> chunk, Side& base, Side& other, LossTally& tally,
                 const std::stop_token& stop) {
  const std::size_t first = chunk.size() / 2;
  for (std::size_t from = 0; from < first; from += kMaxStepRows) {
    const std::size_t to = std::min<std::size_t>(from + kMaxStepRows, first);
    GOGRID_RETURN_IF_ERROR(base.run(chunk, from, to, false, stop));
    GOGRID_RETURN_IF_ERROR(other.run(chunk, from, to, false, stop));
  }
  for (std::size_t from = first; from + 1 < chunk.size(); from += kRowsAtOnce) {
    const std::size_t to = std::min<std::size_t>(from + kRowsAtOnce, chunk.size() - 1);
    GOGRID_ASSIGN_OR_RETURN(const auto base_rows, base.run(chunk, from, to, true, stop));
    GOGRID_ASSIGN_OR_RETURN(const auto other_rows, other.run(chunk, from, to, true, stop));
    for (std::size_t i = from; i < to; ++i) {
      GOGRID_ASSIGN_OR_RETURN(
          const PositionLoss loss,
          compare_logits(base_rows[i - from].logits, other_rows[i - from].logits, chunk[i + 1]));
      tally.add(loss);
    }
  }
  return {};
}

Result<ModelLoss> measure_here(const LossQuestion& question, StageFactory& factory,
                               MemoryLedger& ledger, const ChunkProgress& progress,
                               const std::stop_token& stop) {
  GOGRID_ASSIGN_OR_RETURN(
      const std::uint32_t chunks,
      count_chunks(question.tokens.size(), question.context, question.max_chunks));
  GOGRID_ASSIGN_OR_RETURN(Side base, Side::load(question.base, question, factory, ledger, stop));
  GOGRID_ASSIGN_OR_RETURN(Side other, Side::load(question.other, question, factory, ledger, stop));
  LossTally tally;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    if (!progress(i, chunks)) return fail(ErrorCode::kCancelled, "[loss] stopped");
    const auto tokens =
        question.tokens.subspan(std::size_t{i} * question.context, question.context);
    std::vector<Token> chunk(tokens.begin(), tokens.end());
    if (question.begin_token) chunk.front() = *question.begin_token;
    GOGRID_RETURN_IF_ERROR(run_chunk(chunk, base, other, tally, stop));
  }
  ModelLoss loss = tally.total();
  loss.context = question.context;
  loss.base = question.base.name;
  return loss;
}

}  // namespace

Result<std::uint32_t> count_chunks(std::size_t tokens, std::uint32_t context,
                                   std::uint32_t max_chunks) {
  const std::size_t chunks = tokens / context;
  if (chunks < kFewestChunks) {
    return fail(ErrorCode::kInvalidArgument,
                std::format("[loss] a text of at least {} tokens ({} chunks of {}): it has {}",
                            kFewestChunks * context, kFewestChunks, context, tokens),
                "text");
  }
  return static_cast<std::uint32_t>(
      std::min<std::size_t>(chunks, max_chunks == 0 ? UINT32_MAX : max_chunks));
}

Result<ModelLoss> measure_loss(const LossQuestion& question, StageFactory& factory,
                               MemoryLedger& ledger, const ChunkProgress& progress,
                               const std::stop_token& stop) {
  if (question.base.profile.n_vocab != question.other.profile.n_vocab) {
    return fail(ErrorCode::kInvalidArgument,
                std::format("[loss] models of one vocabulary: {} has {} tokens, {} {}",
                            question.base.name, question.base.profile.n_vocab, question.other.name,
                            question.other.profile.n_vocab));
  }
  Result<ModelLoss> result = fail(ErrorCode::kInternal, "[loss] not run");
  std::thread([&] {
    try {
      result = measure_here(question, factory, ledger, progress, stop);
    } catch (const std::exception& error) {
      result = fail(ErrorCode::kInternal, std::string("[loss] ") + error.what());
    }
  }).join();
  return result;
}

}  // namespace gogrid

#include "stage/llama_stage.h"

#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/format.h"
#include "device/backend_log.h"
#include "device/device_registry.h"
#include "obs/log.h"
#include "stage/backend_memory.h"
#include "stage/llama_loader.h"
#include "stage/sampler.h"
#include "stage/step_batch.h"
#include "stage/step_check.h"
#include "stage/step_split.h"
#include "stage/token_rows.h"

namespace gogrid {
namespace {

class LlamaStage final : public Stage {
 public:
  LlamaStage(const StageSpec& spec, LoadedSlice slice, std::optional<TokenRows> token_rows)
      : spec_(spec),
        where_(name_of_stage(spec)),
        slice_(std::move(slice)),
        token_rows_(std::move(token_rows)),
        n_embd_(static_cast<std::uint32_t>(llama_model_n_embd(slice_.model.get()))),
        n_vocab_(static_cast<std::uint32_t>(
            llama_vocab_n_tokens(llama_model_get_vocab(slice_.model.get())))),
        shape_{.where = where_,
               .first = spec.is_first(),
               .last = spec.is_last(),
               .n_embd = n_embd_,
               .n_vocab = token_rows_ ? token_rows_->n_vocab() : n_vocab_,
               .context = spec.context,
               .max_rows = spec.max_step_rows},
        whole_memory_(llama_model_is_recurrent(slice_.model.get()) ||
                      llama_model_is_hybrid(slice_.model.get())),
        limits_{.max_rows = std::min(spec.max_step_rows, llama_n_ubatch(slice_.context.get())),
                .max_outputs = outputs_per_call(spec),
                .equal_rows = spec.kv_cells == 0 || whole_memory_},
        batch_(limits_.max_rows, spec.is_whole() ? 0 : n_embd_),
        memory_(slice_.memory),
        graph_(slice_.graph),
        lengths_(spec.parallel, 0) {}

  Result<StageOutput> forward(StageInput& input, std::stop_token stop) override;
  StageMemory memory() const override { return memory_; }

  // One row through the whole range: a device that cannot compute, or a graph without the node, is
  // found when the stage is made. Also brings the weights in from the disk.
  Status probe();

 private:
  llama_memory_t kv() const { return llama_get_memory(slice_.context.get()); }
  Result<StageOutput> step(StageInput& input);
  Status check_epoch(const StageInput& input);
  Status truncate(SlotId slot, std::int32_t length);
  Status copy(const KvOp& op);
  Status apply_upkeep(const std::vector<KvOp>& ops);
  Status compute(StageInput& input, StageOutput& output);
  Status run(std::span<const std::uint32_t> call, const StageInput& input, StageOutput& output);
  void fill_batch(std::span<const std::uint32_t> call, const StageInput& input);
  Status decode();
  Result<std::int32_t> call_decode(const BackendLogCapture& said);
  void note_graph(std::span<const std::string> log_lines);
  Status check_tap() const;
  Status take_rows(std::span<const std::uint32_t> call, StageOutput& output);
  Status take_samples(std::span<const std::uint32_t> call, const StageInput& input,
                      StageOutput& output);
  void forget_rows(const StageInput& input);

  // Constant after construction.
  const StageSpec spec_;
  const std::string where_;
  const LoadedSlice slice_;
  const std::optional<TokenRows> token_rows_;
  const std::uint32_t n_embd_;
  const std::uint32_t n_vocab_;  // of the logits
  const StepShape shape_;
  const bool whole_memory_;  // recurrent state: sequences are copied and forgotten as a whole
  const SplitLimits limits_;

  // Of the step that runs.
  StepBatch batch_;
  std::vector<float> tapped_;
  std::vector<std::uint32_t> output_of_row_;  // index into `sampled`, by row

  StageMemory memory_;
  Bytes graph_;  // of it

  std::vector<std::int32_t> lengths_;  // positions 0..length-1 of each slot are in the cache
  std::uint64_t epoch_ = 0;            // the newest seen
};

Status LlamaStage::check_epoch(const StageInput& input) {
  if (input.epoch < epoch_) {
    return fail(ErrorCode::kUnavailable,
                format_text("{}: epoch {} or newer: {}", where_, epoch_, input.epoch));
  }
  epoch_ = input.epoch;
  return {};
}

Status LlamaStage::truncate(SlotId slot, std::int32_t length) {
  std::int32_t& held = lengths_[static_cast<std::size_t>(slot)];
  if (length >= held) return {};
  if (!llama_memory_seq_rm(kv(), slot, length == 0 ? -1 : length, -1)) {
    return fail(ErrorCode::kUnsupported,
                format_text("{}: slot {} forgotten from position {}: this model's memory can only "
                            "be forgotten as a whole",
                            where_, slot, length));
  }
  held = length;
  return {};
}

Status LlamaStage::copy(const KvOp& op) {
  const std::int32_t source = lengths_[static_cast<std::size_t>(op.from)];
  if (op.slot == op.from || op.length == 0) return truncate(op.slot, op.length);
  if (whole_memory_ && op.length != source) {
    return fail(ErrorCode::kUnsupported,
                format_text("{}: slot {} copied up to position {} of {}: this model's memory can "
                            "only be copied as a whole",
                            where_, op.from, op.length, source));
  }
  GOGRID_RETURN_IF_ERROR(truncate(op.slot, 0));
  // From one KV stream to another only all cells can be copied; in a pool the cells are shared.
  llama_memory_seq_cp(kv(), op.from, op.slot, -1, -1);
  lengths_[static_cast<std::size_t>(op.slot)] = source;
  return truncate(op.slot, op.length);
}

Status LlamaStage::apply_upkeep(const std::vector<KvOp>& ops) {
  for (const KvOp& op : ops) {
    GOGRID_RETURN_IF_ERROR(op.kind == KvOp::Kind::kCopy ? copy(op) : truncate(op.slot, op.length));
  }
  return {};
}

void LlamaStage::fill_batch(std::span<const std::uint32_t> call, const StageInput& input) {
  batch_.clear();
  for (const std::uint32_t index : call) {
    const StepRow& row = input.rows[index];
    // In its last layer libllama drops the rows nobody wants the logits of.
    const auto hidden = batch_.add(row, row.wants_output || !spec_.is_last());
    if (token_rows_) {
      token_rows_->read(row.token, hidden);
    } else if (!hidden.empty()) {
      std::ranges::copy(std::span(input.hidden).subspan(index * n_embd_, n_embd_), hidden.begin());
    }
  }
}

// libllama throws where a graph that has changed finds no memory.
Result<std::int32_t> LlamaStage::call_decode(const BackendLogCapture& said) {
  try {
    return llama_decode(slice_.context.get(), batch_.view());
  } catch (const std::exception& error) {
    return fail(ErrorCode::kExhausted, format_text("{}: device memory for the step's graph: {}; {}",
                                                   where_, error.what(), said.last_error()));
  }
}

void LlamaStage::note_graph(std::span<const std::string> log_lines) {
  const auto graph = graph_memory(log_lines, backend_device(spec_));
  if (!graph) return;
  memory_.compute = memory_.compute - std::min(memory_.compute, graph_) + *graph;
  graph_ = *graph;
}

Status LlamaStage::decode() {
  BackendLogCapture said;
  GOGRID_ASSIGN_OR_RETURN(const std::int32_t code, call_decode(said));
  if (!said.lines().empty()) note_graph(said.lines());
  const auto failed = [&](ErrorCode error, std::string_view what) {
    return fail(error,
                format_text("{}: {} (libllama's code {}): {}", where_, what, code,
                            said.last_error().empty() ? "no reason given" : said.last_error()));
  };
  switch (code) {
    case 0:
      return {};
    case 1:
      return failed(ErrorCode::kExhausted, "KV space for the step: none left");
    case 2:
      return fail(
          ErrorCode::kDeadline,
          format_text("{}: a step within {}", where_,
                      std::chrono::duration_cast<std::chrono::milliseconds>(spec_.step_deadline)));
    case -1:
      return failed(ErrorCode::kInternal, "a batch libllama takes");
    case -2:
      return failed(ErrorCode::kExhausted, "device memory for the step: none left");
    default:
      return failed(ErrorCode::kUnavailable, "a device that computes");
  }
}

Status LlamaStage::check_tap() const {
  switch (slice_.callbacks->tap->outcome()) {
    case LayerTap::Outcome::kCopied:
      return {};
    case LayerTap::Outcome::kUnseen:
      return fail(ErrorCode::kUnsupported,
                  format_text("{}: a graph with the node {}: this architecture has none, run the "
                              "model as one stage",
                              where_, slice_.callbacks->tap->node()));
    case LayerTap::Outcome::kOtherShape:
      break;
  }
  return fail(ErrorCode::kUnsupported,
              format_text("{}: a layer output of {} numbers a row: {} is another shape, run the "
                          "model as one stage",
                          where_, n_embd_, slice_.callbacks->tap->node()));
}

Status LlamaStage::take_rows(std::span<const std::uint32_t> call, StageOutput& output) {
  GOGRID_RETURN_IF_ERROR(check_tap());
  for (std::size_t i = 0; i < call.size(); ++i) {
    std::ranges::copy(
        std::span(tapped_).subspan(i * n_embd_, n_embd_),
        output.hidden.begin() + static_cast<std::ptrdiff_t>(std::size_t{call[i]} * n_embd_));
  }
  return {};
}

Status LlamaStage::take_samples(std::span<const std::uint32_t> call, const StageInput& input,
                                StageOutput& output) {
  for (std::size_t i = 0; i < call.size(); ++i) {
    const StepRow& row = input.rows[call[i]];
    if (!row.wants_output) continue;
    float* logits = llama_get_logits_ith(slice_.context.get(), static_cast<std::int32_t>(i));
    if (logits == nullptr) {
      return fail(ErrorCode::kInternal,
                  format_text("{}: logits of row {}: libllama has none", where_, call[i]));
    }
    const std::uint32_t index = output_of_row_[call[i]];
    const OutputSpec& wanted = input.outputs[index];
    SampledRow& sampled = output.sampled[index];
    if (wanted.raw_logits) {
      sampled.logits.assign(logits, logits + n_vocab_);
      continue;
    }
    sampled = sample({logits, n_vocab_}, wanted, row.position, spec_.end_tokens);
    if (!sampled.error.empty()) sampled.error = where_ + ": " + sampled.error;
  }
  return {};
}

Status LlamaStage::run(std::span<const std::uint32_t> call, const StageInput& input,
                       StageOutput& output) {
  fill_batch(call, input);
  if (spec_.is_last()) {
    GOGRID_RETURN_IF_ERROR(decode());
    return take_samples(call, input, output);
  }
  tapped_.resize(call.size() * n_embd_);
  slice_.callbacks->tap->arm(tapped_);
  GOGRID_RETURN_IF_ERROR(decode());
  return take_rows(call, output);
}

Status LlamaStage::compute(StageInput& input, StageOutput& output) {
  output_of_row_.assign(input.rows.size(), 0);
  std::uint32_t outputs = 0;
  for (std::size_t i = 0; i < input.rows.size(); ++i) {
    if (input.rows[i].wants_output) output_of_row_[i] = outputs++;
  }
  if (spec_.is_last()) {
    output.sampled.resize(outputs);
  } else {
    output.hidden.resize(input.rows.size() * n_embd_);
  }
  for (const auto& call : split_step(input.rows, limits_)) {
    GOGRID_RETURN_IF_ERROR(run(call, input, output));
  }
  return {};
}

// Takes the rows of a step that failed out of the cache again, as far as the cache can.
void LlamaStage::forget_rows(const StageInput& input) {
  for (const StepRow& row : input.rows) {
    std::int32_t& length = lengths_[static_cast<std::size_t>(row.slot)];
    if (llama_memory_seq_rm(kv(), row.slot, length == 0 ? -1 : length, -1)) continue;
    llama_memory_seq_rm(kv(), row.slot, -1, -1);
    length = 0;
  }
}

Result<StageOutput> LlamaStage::forward(StageInput& input, std::stop_token stop) {
  if (stop.stop_requested()) {
    return fail(ErrorCode::kCancelled, format_text("{}: the step was cancelled", where_));
  }
  const auto start = std::chrono::steady_clock::now();
  slice_.callbacks->deadline.at = start + spec_.step_deadline;
  auto output = step(input);
  if (output) output->busy = std::chrono::steady_clock::now() - start;
  return output;
}

Result<StageOutput> LlamaStage::step(StageInput& input) {
  std::vector<std::int32_t> lengths = lengths_;
  GOGRID_RETURN_IF_ERROR(check_epoch(input));
  GOGRID_RETURN_IF_ERROR(check_step(shape_, input, lengths));
  GOGRID_RETURN_IF_ERROR(apply_upkeep(input.kv_ops));
  StageOutput output;
  if (auto done = compute(input, output); !done) {
    forget_rows(input);
    return std::unexpected(std::move(done).error());
  }
  lengths_ = std::move(lengths);
  return output;
}

Status LlamaStage::probe() {
  StageInput input;
  input.rows = {{.slot = 0, .position = 0, .token = 0, .wants_output = spec_.is_last()}};
  if (!spec_.is_first()) input.hidden.assign(n_embd_, 0.01F);
  if (spec_.is_last()) {
    OutputSpec greedy;
    SamplingSpec spec;
    spec.temperature = 0;
    greedy.sampling = std::make_shared<const SamplingSpec>(std::move(spec));
    input.outputs.push_back(std::move(greedy));
  }
  GOGRID_RETURN_IF_ERROR(step(input));  // no deadline: the weights may come from a slow disk
  // Recurrent state starts as zeros; a cache is never read where nothing was written.
  llama_memory_clear(kv(), whole_memory_);
  std::ranges::fill(lengths_, 0);
  return {};
}

class LlamaStageFactory final : public StageFactory {
 public:
  Result<std::unique_ptr<Stage>> make(const StageSpec& spec,
                                      const std::function<void(double)>& progress,
                                      std::stop_token stop) override {
    GOGRID_RETURN_IF_ERROR(check_spec(spec));
    GOGRID_ASSIGN_OR_RETURN(LoadedSlice slice, load_slice(spec, progress, stop));
    std::optional<TokenRows> token_rows;
    if (spec.is_first() && !spec.is_whole()) {
      const auto n_embd = static_cast<std::uint32_t>(llama_model_n_embd(slice.model.get()));
      GOGRID_ASSIGN_OR_RETURN(token_rows,
                              TokenRows::open(spec.embedding_source, n_embd, spec.embedding_scale));
    }
    auto stage = std::make_unique<LlamaStage>(spec, std::move(slice), std::move(token_rows));
    GOGRID_RETURN_IF_ERROR(stage->probe());
    if (progress) progress(1.0);
    const StageMemory memory = stage->memory();
    log::info("stage_loaded", {{"model", spec.model},
                               {"layers", to_string(spec.layers)},
                               {"device", spec.device.id},
                               {"weights_bytes", memory.weights},
                               {"kv_bytes", memory.kv},
                               {"compute_bytes", memory.compute}});
    return stage;
  }
};

}  // namespace

std::unique_ptr<StageFactory> make_llama_stage_factory() {
  return std::make_unique<LlamaStageFactory>();
}

}  // namespace gogrid

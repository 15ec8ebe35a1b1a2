// A contiguous range of a model's layers, loaded on one device of one node.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/result.h"
#include "base/units.h"
#include "device/device.h"
#include "model/layer_range.h"
#include "model/memory_estimator.h"
#include "model/slice_cache.h"
#include "request/response_sink.h"
#include "request/sampling_spec.h"
#include "stage/activation_sink.h"
#include "stage/stage_leases.h"

namespace gogrid {

using SlotId =
    std::int32_t;  // a sequence's place in the KV cache of every stage of a plan: 0..parallel-1

// One token of one sequence. Rows of a slot come in order of position, without gaps.
struct StepRow {
  SlotId slot = 0;
  std::int32_t position = 0;
  Token token = 0;            // read by the first stage only
  bool wants_output = false;  // the last stage samples from (or returns) this row's logits
};

// KV upkeep, done by every stage in this order before its rows are computed.
struct KvOp {
  enum class Kind : std::uint8_t {
    kTruncate,  // slot: forget positions >= `length` (0: all)
    kCopy,      // slot becomes a copy of the first `length` positions of `from`
  };
  Kind kind = Kind::kTruncate;
  SlotId slot = 0;
  SlotId from = 0;
  std::int32_t length = 0;
};

// How to choose the token for one row that wants output; read by the last stage only.
struct OutputSpec {
  std::shared_ptr<const SamplingSpec> sampling;
  std::vector<Token> history;       // only when sampling->penalizes(): prompt + generated so far
  std::uint32_t prompt_length = 0;  // of history: how many are prompt
  bool raw_logits = false;          // tests: return all logits instead of sampling
};

struct StageInput {
  std::uint64_t epoch = 0;  // of the plan; a stage refuses older ones
  std::uint64_t step = 0;   // counts up; for logs
  std::vector<KvOp> kv_ops;
  std::vector<StepRow> rows;        // <= StageSpec::max_step_rows; may be empty (upkeep only)
  std::vector<float> hidden;        // [rows, n_embd] row-major; empty for the first stage
  std::vector<OutputSpec> outputs;  // one per row with wants_output, in row order
};

struct SampledRow {
  TokenEvent event;           // chosen.token is the token; probabilities when asked for
  std::vector<float> logits;  // [n_vocab] when raw_logits
  std::string error;  // not empty: this row's logits were NaN or infinite; only its sequence ends
};

// A row whose hidden state was NaN or infinite at a cut: only its sequence ends.
struct RowFault {
  std::size_t row = 0;  // of StageInput::rows
  std::string message;  // names the stage
};

struct StageOutput {
  std::vector<float> hidden;  // [rows, n_embd]; empty from the last stage
  std::vector<SampledRow>
      sampled;      // one per row with wants_output, in order; empty from other stages
  Duration busy{};  // computing, for the duty cycle and metrics
  // Filled by the pipeline, which checks the hidden rows at every cut and hands zeros on in their
  // place, so that the other sequences of the step are untouched. Stages leave it empty.
  std::vector<RowFault> faults;
};

// Low-rank changes to a stage's weights (model/lora_adapter.h).
struct StageAdapter {
  std::filesystem::path path;  // GGUF; its layers are numbered as those of the stage's file
  float scale = 1.0F;
  // Keeps a file that was made for this stage alone.
  std::shared_ptr<const AtomicFile> temporary = nullptr;
};

// Loading, sizing and placing one stage.
struct StageSpec {
  std::string model;  // for messages
  std::shared_ptr<const SliceCache::Hold>
      slice;                   // keeps the slice file; null when `path` is the whole model
  std::filesystem::path path;  // the GGUF to load: the slice, or the whole model
  LayerRange layers;
  std::uint32_t n_layers = 0;  // of the whole model: first == 0 and last == n_layers mean whole
  Device device;
  HeldMemory leases;             // of all it allocates; null: nobody counts (tests)
  std::uint32_t context = 4096;  // tokens per sequence
  std::uint32_t parallel = 1;    // sequences: slots 0..parallel-1
  std::uint32_t kv_cells =
      0;  // 0: context for each sequence; else one pool of so many cells for all
  std::uint32_t max_step_rows = 512;
  std::uint32_t max_outputs = 0;  // rows with logits that one call of libllama computes; a step may
                                  // have more. 0: one for each sequence, 16 at least
  bool deterministic = false;     // flash attention off, Q4_K not repacked
  Duration step_deadline = std::chrono::seconds(30);
  float embedding_scale = 1.0F;  // first stage of several: ModelProfile::embedding_scale
  std::filesystem::path
      embedding_source;           // first stage of several: the whole model, for token_embd rows
  std::vector<Token> end_tokens;  // for SamplingSpec::ban_end_of_text
  std::optional<StageAdapter> adapter;
  ActivationSink* activations = nullptr;  // whole models only: is shown what goes into each weight

  bool is_first() const { return layers.first == 0; }
  bool is_last() const { return layers.last == n_layers; }
  bool is_whole() const { return is_first() && is_last(); }
};

// Not thread-safe: the pipeline makes, calls and destroys each stage on one thread. Owns its KV
// cache and its memory. Implementations: LlamaStage (this process), FakeStage (tests); later
// rpc::RemoteStage (another node).
class Stage {
 public:
  virtual ~Stage() = default;

  // Does the upkeep, runs the slice over the rows and appends to their KV slots.
  //
  // After an error the slots of these rows hold anything: truncate them to 0 and replay from the
  // prompt.
  // - kExhausted: no KV space for these rows now; a smaller step may fit. Only the upkeep was done.
  // - kUnavailable: the node or the device is gone, or `epoch` is old; another plan may work.
  // - kDeadline: the step took longer than its deadline and was abandoned.
  // - kCorrupt: the input is not what was agreed (sizes). NaN in hidden rows is the pipeline's to
  //   find.
  // - kCancelled: `stop` was requested before the step began; a step once begun is finished.
  virtual Result<StageOutput> forward(StageInput& input, std::stop_token stop) = 0;

  // What the backend really took.
  virtual StageMemory memory() const = 0;
};

// Makes stages; handed to the pipeline by app/, so that it need not know which kinds there are.
// Thread-safe.
class StageFactory {
 public:
  virtual ~StageFactory() = default;
  // Called on the stage's own thread. `progress`: 0..1, may be called from this call only.
  virtual Result<std::unique_ptr<Stage>> make(const StageSpec& spec,
                                              const std::function<void(double)>& progress,
                                              std::stop_token stop) = 0;
};

}  // namespace gogrid

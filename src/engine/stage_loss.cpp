#include "engine/stage_loss.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <thread>
#include <utility>

#include "base/files.h"
#include "base/format.h"
#include "engine/loss_measurement.h"
#include "engine/loss_tally.h"
#include "engine/text_run.h"
#include "model/memory_estimator.h"
#include "model/stage_types.h"

namespace gogrid {
namespace {

// A step is what a pause waits for.
constexpr std::uint32_t kStepRows = 64;
// Rows whose logits are in memory at once: no more than a stage that serves would have.
constexpr std::uint32_t kOutputRows = 16;
// A step of a large slice on a slow machine; nobody waits for it but whoever pauses.
constexpr Duration kStepDeadline = std::chrono::minutes(15);

// Part of the model, in memory on its own.
struct Piece {
  LayerRange layers;
  Device device;
  const SmallerLayers* as = nullptr;  // null: the model's own weights
};

// Logits of one side, kept on the disk until the other side has the same rows.
class LogitsFile {
 public:
  static Result<LogitsFile> create(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return file_error("create", folder, error.value());
    GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(folder / "logits"));
    return LogitsFile(std::move(file));
  }
  Status append(std::span<const float> row) { return file_.write(std::as_bytes(row)); }
  // The next row, as they were appended.
  Status read_next(std::span<float> row) {
    std::span<std::byte> rest = std::as_writable_bytes(row);
    while (!rest.empty()) {
      const ssize_t got = ::pread(file_.descriptor(), rest.data(), rest.size(), at_);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return file_error("read", file_.path(), got < 0 ? errno : EIO);
      rest = rest.subspan(static_cast<std::size_t>(got));
      at_ += got;
    }
    return {};
  }

 private:
  explicit LogitsFile(AtomicFile file) : file_(std::move(file)) {}
  AtomicFile file_;  // never committed: gone with this
  off_t at_ = 0;
};

// What becomes of a row of logits: `token` is the one that follows it.
using LogitsSink = std::function<Status(std::span<const float> logits, Token token)>;

class StageLoss {
 public:
  StageLoss(const StageLossQuestion& question, StageFactory& factory, const SliceCache& slices,
            MemoryLedger* ledger, const StageLossProgress& progress, const std::stop_token& stop)
      : question_(question),
        profile_(*question.profile),
        factory_(factory),
        slices_(slices),
        ledger_(ledger),
        progress_(progress),
        stop_(stop),
        smaller_(smaller_layers(*question.file, profile_)) {}

  Result<ModelLoss> measure();

 private:
  // All rows of the text, [tokens, n_embd] of the last piece that was run.
  using Hidden = std::vector<float>;

  Status prepare();
  Status run_stage(const PlannedStage& stage);
  Status run_own(const PlannedStage& stage);
  Status run_smaller(const PlannedStage& stage);
  // Both sides through the same weights: one of them where they do not differ yet.
  Status run_both(Stage& loaded, const StageSpec& spec);
  Status run_other(Stage& loaded, const StageSpec& spec);
  Status run_base(Stage& loaded, const StageSpec& spec);
  Status run_rows(Stage& loaded, const StageSpec& spec, Hidden& hidden, const LogitsSink& sink);
  Status run_step(Stage& loaded, const StageSpec& spec, std::size_t chunk, std::size_t from,
                  std::size_t to, Hidden& hidden, const LogitsSink& sink);
  std::size_t step_end(const StageSpec& spec, std::size_t from) const;

  Status with_stage(const Piece& piece,
                    const std::function<Status(Stage&, const StageSpec&)>& work);
  Status with_stage_here(const Piece& piece,
                         const std::function<Status(Stage&, const StageSpec&)>& work);
  Result<StageSpec> spec_of(const Piece& piece);
  StageMemory memory_of(LayerRange layers, const SmallerLayers* as) const;
  Bytes logits_bytes(LayerRange layers) const;
  bool has_room(const Device& device, const StageMemory& memory) const;
  // From `first` on, as far as some device of the plan holds it.
  Result<Piece> largest_piece(std::uint32_t first, std::uint32_t last) const;
  std::vector<Device> devices_by_room() const;
  Result<Device> device_of(const std::string& id) const;
  Status go_on();
  bool is_of_plan(const Piece& piece) const;

  const StageLossQuestion& question_;
  const ModelProfile& profile_;
  StageFactory& factory_;
  const SliceCache& slices_;
  MemoryLedger* const ledger_;
  const StageLossProgress& progress_;
  const std::stop_token& stop_;
  const std::vector<SmallerLayers> smaller_;

  std::uint32_t chunks_ = 0;
  std::vector<Token> tokens_;  // of all chunks, with their begin tokens
  Hidden base_;
  Hidden other_;
  bool differ_ = false;
  std::optional<LogitsFile> logits_;  // of the other side
  LossTally tally_;
  std::uint64_t rows_done_ = 0;
  std::uint64_t steps_ = 0;
};

// --- what is run where

Result<Device> StageLoss::device_of(const std::string& id) const {
  const auto found = std::ranges::find(question_.devices, id, &Device::id);
  if (found != question_.devices.end()) return *found;
  return fail(ErrorCode::kNotFound, "[stage_loss] the plan names device '" + id + "': not here");
}

Bytes StageLoss::logits_bytes(LayerRange layers) const {
  if (layers.last != profile_.n_layers) return 0;
  // libllama's buffer for them grows with the first step, and they are copied out of it.
  return 2 * Bytes{kOutputRows} * profile_.n_vocab * sizeof(float);
}

StageMemory StageLoss::memory_of(LayerRange layers, const SmallerLayers* as) const {
  StageMemory memory = estimate_memory(as == nullptr ? profile_ : as->profile,
                                       {.layers = layers,
                                        .context = question_.context,
                                        .parallel = 1,
                                        .max_step_rows = std::min(question_.context, kStepRows)});
  memory.compute += logits_bytes(layers);
  return memory;
}

bool StageLoss::has_room(const Device& device, const StageMemory& memory) const {
  if (ledger_ == nullptr) return true;
  const StageNeed need{device.id, memory};
  return ledger_->check(memory_requests("loss of " + question_.model, {&need, 1})).has_value();
}

// Those of the plan, the one with most planned memory first.
std::vector<Device> StageLoss::devices_by_room() const {
  std::vector<PlannedStage> stages = question_.stages;
  std::ranges::stable_sort(stages, std::ranges::greater{},
                           [](const PlannedStage& stage) { return stage.memory.total(); });
  std::vector<Device> devices;
  for (const PlannedStage& stage : stages) {
    if (auto device = device_of(stage.device)) devices.push_back(*std::move(device));
  }
  return devices;
}

Result<Piece> StageLoss::largest_piece(std::uint32_t first, std::uint32_t last) const {
  std::vector<std::uint32_t> ends{last};
  for (const std::uint32_t cut : profile_.allowed_cuts) {
    if (cut > first && cut < last) ends.push_back(cut);
  }
  std::ranges::sort(ends, std::ranges::greater{});
  const std::vector<Device> devices = devices_by_room();
  for (const std::uint32_t end : ends) {
    const LayerRange layers{first, end};
    for (const Device& device : devices) {
      if (has_room(device, memory_of(layers, nullptr))) return Piece{layers, device};
    }
  }
  const LayerRange least{first, ends.back()};
  return fail(ErrorCode::kExhausted,
              format_text("[stage_loss] {} for layers {} with their own weights on a device of the "
                          "plan: none has room for them",
                          format_bytes(memory_of(least, nullptr).total()), to_string(least)));
}

// --- one piece in memory

Result<StageSpec> StageLoss::spec_of(const Piece& piece) {
  StageSpec spec;
  spec.model = question_.model;
  spec.path = question_.file->path();
  spec.layers = piece.layers;
  spec.n_layers = profile_.n_layers;
  spec.device = piece.device;
  spec.context = question_.context;
  spec.parallel = 1;
  spec.max_step_rows = std::min(question_.context, kStepRows);
  spec.max_outputs = kOutputRows;
  spec.step_deadline = kStepDeadline;
  spec.embedding_scale = profile_.embedding_scale;
  spec.embedding_source = question_.file->path();
  if (spec.is_whole() && piece.as == nullptr) return spec;
  std::optional<WeightType> type;
  if (piece.as != nullptr) type = piece.as->type;
  GOGRID_ASSIGN_OR_RETURN(spec.slice,
                          slices_.get(
                              *question_.file, question_.digest, piece.layers,
                              [this](Bytes, Bytes) { return go_on().has_value(); }, type));
  spec.path = spec.slice->path();
  return spec;
}

Status StageLoss::go_on() {
  const auto all = static_cast<double>(2 * tokens_.size() * profile_.n_layers);
  if (!stop_.stop_requested() && progress_(static_cast<double>(rows_done_) / std::max(1.0, all)))
    return {};
  return fail(ErrorCode::kCancelled, "[stage_loss] told to stop");
}

bool StageLoss::is_of_plan(const Piece& piece) const {
  return std::ranges::any_of(question_.stages, [&](const PlannedStage& stage) {
    return stage.layers == piece.layers && stage.type.has_value() == (piece.as != nullptr);
  });
}

Status StageLoss::with_stage_here(const Piece& piece,
                                  const std::function<Status(Stage&, const StageSpec&)>& work) {
  GOGRID_ASSIGN_OR_RETURN(StageSpec spec, spec_of(piece));
  Status done;
  {
    std::vector<HeldMemory> leases;
    if (ledger_ != nullptr) {
      const StageNeed need{piece.device.id, memory_of(piece.layers, piece.as)};
      GOGRID_ASSIGN_OR_RETURN(leases,
                              lease_stages(*ledger_, "loss of " + question_.model, {&need, 1}));
      spec.leases = leases.front();
    }
    GOGRID_ASSIGN_OR_RETURN(const auto stage, factory_.make(spec, {}, stop_));
    StageMemory taken = stage->memory();
    if (taken.total() > 0) taken.compute += logits_bytes(piece.layers);
    GOGRID_RETURN_IF_ERROR(settle(leases, {&taken, leases.size()}));
    done = work(*stage, spec);
  }
  if (!is_of_plan(piece)) SliceCache::forget(std::move(spec.slice));
  return done;
}

// On a thread of its own: a CPU device pins the thread of its stages.
Status StageLoss::with_stage(const Piece& piece,
                             const std::function<Status(Stage&, const StageSpec&)>& work) {
  GOGRID_RETURN_IF_ERROR(go_on());
  Status result;
  std::thread([&] {
    try {
      result = with_stage_here(piece, work);
    } catch (const std::exception& error) {
      result = fail(ErrorCode::kInternal, std::string("[stage_loss] ") + error.what());
    }
  }).join();
  return result;
}

// --- rows through a piece

// Rows of the first half of a chunk, which nobody asks for, and of the second are not of one step.
std::size_t StageLoss::step_end(const StageSpec& spec, std::size_t from) const {
  const std::size_t half = question_.context / 2;
  if (!spec.is_last()) return std::min<std::size_t>(from + kStepRows, question_.context);
  if (from < half) return std::min<std::size_t>(from + kStepRows, half);
  return std::min<std::size_t>(from + kOutputRows, question_.context - 1);
}

Status StageLoss::run_step(Stage& loaded, const StageSpec& spec, std::size_t chunk,
                           std::size_t from, std::size_t to, Hidden& hidden,
                           const LogitsSink& sink) {
  const std::size_t begin = chunk * question_.context;
  const std::size_t width = profile_.n_embd;
  const bool wanted = spec.is_last() && from >= question_.context / 2;
  const auto tokens = std::span(tokens_).subspan(begin, question_.context);
  StageInput input = rows_of(++steps_, tokens, from, to, wanted);
  const auto rows = std::span(hidden).subspan((begin + from) * width, (to - from) * width);
  if (!spec.is_first()) input.hidden.assign(rows.begin(), rows.end());
  GOGRID_ASSIGN_OR_RETURN(const StageOutput output, loaded.forward(input, stop_));
  if (!spec.is_last()) {
    std::ranges::copy(output.hidden, rows.begin());
    return {};
  }
  for (std::size_t i = 0; i < output.sampled.size(); ++i) {
    GOGRID_RETURN_IF_ERROR(sink(output.sampled[i].logits, tokens_[begin + from + i + 1]));
  }
  return {};
}

Status StageLoss::run_rows(Stage& loaded, const StageSpec& spec, Hidden& hidden,
                           const LogitsSink& sink) {
  hidden.resize(tokens_.size() * profile_.n_embd);
  const std::size_t end = question_.context - (spec.is_last() ? 1 : 0);
  for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
    for (std::size_t from = 0; from < end;) {
      GOGRID_RETURN_IF_ERROR(go_on());
      const std::size_t to = step_end(spec, from);
      GOGRID_RETURN_IF_ERROR(run_step(loaded, spec, chunk, from, to, hidden, sink));
      rows_done_ += (to - from) * spec.layers.size();
      from = to;
    }
  }
  return {};
}

Status StageLoss::run_other(Stage& loaded, const StageSpec& spec) {
  if (!differ_) other_ = base_;
  return run_rows(loaded, spec, other_,
                  [this](std::span<const float> logits, Token) { return logits_->append(logits); });
}

Status StageLoss::run_base(Stage& loaded, const StageSpec& spec) {
  std::vector<float> others;
  return run_rows(loaded, spec, base_, [&](std::span<const float> logits, Token next) -> Status {
    others.resize(logits.size());
    GOGRID_RETURN_IF_ERROR(logits_->read_next(others));
    GOGRID_ASSIGN_OR_RETURN(const PositionLoss loss, compare_logits(logits, others, next));
    tally_.add(loss);
    return {};
  });
}

Status StageLoss::run_both(Stage& loaded, const StageSpec& spec) {
  if (differ_) {
    GOGRID_RETURN_IF_ERROR(run_other(loaded, spec));
  } else {
    rows_done_ += tokens_.size() * spec.layers.size();
  }
  return run_base(loaded, spec);
}

Status StageLoss::run_own(const PlannedStage& stage) {
  GOGRID_ASSIGN_OR_RETURN(Device device, device_of(stage.device));
  return with_stage(
      {stage.layers, std::move(device)},
      [this](Stage& loaded, const StageSpec& spec) { return run_both(loaded, spec); });
}

Status StageLoss::run_smaller(const PlannedStage& stage) {
  const auto as = std::ranges::find(smaller_, stage.type->type,
                                    [](const SmallerLayers& layers) { return layers.type.type; });
  if (as == smaller_.end()) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[stage_loss] a type that makes layers {} smaller: {}",
                            to_string(stage.layers), stage.type->name));
  }
  GOGRID_ASSIGN_OR_RETURN(Device device, device_of(stage.device));
  GOGRID_RETURN_IF_ERROR(
      with_stage({stage.layers, std::move(device), &*as},
                 [this](Stage& loaded, const StageSpec& spec) { return run_other(loaded, spec); }));
  for (std::uint32_t first = stage.layers.first; first < stage.layers.last;) {
    GOGRID_ASSIGN_OR_RETURN(const Piece piece, largest_piece(first, stage.layers.last));
    GOGRID_RETURN_IF_ERROR(with_stage(
        piece, [this](Stage& loaded, const StageSpec& spec) { return run_base(loaded, spec); }));
    first = piece.layers.last;
  }
  differ_ = true;
  return {};
}

Status StageLoss::run_stage(const PlannedStage& stage) {
  return stage.type ? run_smaller(stage) : run_own(stage);
}

// --- all of it

Status StageLoss::prepare() {
  if (std::ranges::none_of(question_.stages,
                           [](const PlannedStage& stage) { return stage.type.has_value(); })) {
    return fail(ErrorCode::kInvalidArgument,
                "[stage_loss] a stage that is smaller than the model: none");
  }
  GOGRID_ASSIGN_OR_RETURN(
      chunks_, count_chunks(question_.tokens.size(), question_.context, question_.max_chunks));
  const auto used = question_.tokens.first(std::size_t{chunks_} * question_.context);
  tokens_.assign(used.begin(), used.end());
  for (std::size_t i = 0; question_.begin_token && i < tokens_.size(); i += question_.context) {
    tokens_[i] = *question_.begin_token;
  }
  GOGRID_ASSIGN_OR_RETURN(logits_, LogitsFile::create(question_.scratch));
  return {};
}

Result<ModelLoss> StageLoss::measure() {
  GOGRID_RETURN_IF_ERROR(prepare());
  for (const PlannedStage& stage : question_.stages) GOGRID_RETURN_IF_ERROR(run_stage(stage));
  ModelLoss loss = tally_.total();
  loss.base = question_.model;
  loss.base_digest = question_.digest;
  loss.context = question_.context;
  return loss;
}

}  // namespace

Result<ModelLoss> measure_stage_loss(const StageLossQuestion& question, StageFactory& factory,
                                     const SliceCache& slices, MemoryLedger* ledger,
                                     const StageLossProgress& progress,
                                     const std::stop_token& stop) {
  return StageLoss(question, factory, slices, ledger, progress, stop).measure();
}

}  // namespace gogrid

#include "engine/calibration.h"

#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <ranges>
#include <string>
#include <thread>
#include <utility>

#include "base/format.h"
#include "device/device_selection.h"
#include "engine/stage_timer.h"
#include "model/memory_estimator.h"
#include "placement/speed_fit.h"

namespace gogrid {
namespace {

// A device gets about two seconds, over at most three stages.
constexpr Duration kTimePerStage = std::chrono::milliseconds(600);
// A slice of so many bytes does not fit in a processor's cache, and takes so long that the cost of
// a call is nothing beside it.
constexpr Bytes kLargeSlice = 96 * kMiB;
// Steps that usually take so much longer than the fastest: somebody else was using the device, and
// the result says little about other times.
constexpr double kTooNoisy = 1.3;
// Nothing tells how much a device holds: plan as if it held anything.
constexpr Bytes kUnbounded = UINT64_MAX / 8;

struct Ranges {
  LayerRange middle;
  std::optional<LayerRange> last;
  std::optional<LayerRange> more;
};

Bytes weight_of(const ModelProfile& profile, LayerRange layers) {
  Bytes sum = 0;
  for (std::uint32_t i = layers.first; i < layers.last; ++i) sum += profile.layer_weights[i];
  return sum;
}

// The slices to run: one piece of the model's pattern from the middle, the last piece with the
// head, and where a piece is small, as many layers as make a large slice.
Ranges choose_ranges(const ModelProfile& profile) {
  if (profile.allowed_cuts.empty()) return {{0, profile.n_layers}, {}, {}};
  std::vector<std::uint32_t> bounds = profile.allowed_cuts;
  bounds.insert(bounds.begin(), 0);
  bounds.push_back(profile.n_layers);
  const std::size_t pieces = bounds.size() - 1;
  const std::size_t middle = (pieces - 1) / 2;
  Ranges ranges;
  ranges.middle = {bounds[middle], bounds[middle + 1]};
  ranges.last = {bounds[pieces - 1], bounds[pieces]};
  if (weight_of(profile, ranges.middle) >= kLargeSlice) return ranges;
  const auto large = std::ranges::find_if(bounds, [&](std::uint32_t bound) {
    return weight_of(profile, {0, bound}) >= kLargeSlice && bound > ranges.middle.size();
  });
  ranges.more = {0, large == bounds.end() ? profile.n_layers : *large};
  return ranges;
}

std::string library_version() {
  return format_text("{} {} {}", llama_version(), ggml_version(), llama_print_system_info());
}

std::string describe(const DeviceBudget& budget) {
  return format_text(
      "a layer {:.3f} ms and {:.3f} a row, the head {:.3f} and {:.3f}, {:.3f} a step",
      budget.layer_read_ms, budget.layer_row_ms, budget.head_read_ms, budget.head_row_ms,
      budget.call_ms);
}

class Calibrator {
 public:
  Calibrator(const GgufFile& file, const ModelProfile& profile, std::string_view digest,
             StageFactory& factory, SliceCache& slices, const Clock& clock, MemoryLedger* ledger,
             const BeforeWork& before_work)
      : file_(file),
        profile_(profile),
        digest_(digest),
        factory_(factory),
        slices_(slices),
        clock_(clock),
        ledger_(ledger),
        before_work_(before_work),
        holder_("measuring " + profile.name),
        usual_(choose_ranges(profile)),
        ranges_(usual_) {}

  // `free`: of the device now.
  Result<DeviceBudget> find_or_measure(const Device& device, Bytes free,
                                       const CalibrationCache& cache, const CalibrationNote& note);

  // Of the largest that has to be run.
  Bytes needed() const;

 private:
  // On a thread of its own: a CPU device pins the thread of its stages.
  Result<DeviceBudget> measure(const Device& device);
  // Of the last device measured.
  bool was_busy() const { return noise_ > kTooNoisy; }
  Result<DeviceBudget> measure_here(const Device& device);
  void guess_head(DeviceBudget& budget) const;
  Result<SliceTimings> run(const Device& device, LayerRange layers);
  StageMemory memory_of(LayerRange layers) const;
  std::vector<LayerRange> ranges() const;
  // Leaves out what a device can never hold under its cap, but for the slice of the middle.
  void choose_ranges_for(const Device& device);
  bool never_fits(const Device& device, LayerRange layers) const;
  Status begin_work() const;
  // Before anything is made: a device that has no memory for all of it is asked again and again.
  Status check_memory(const Device& device, Bytes free) const;
  Result<HeldMemory> lease(const Device& device, LayerRange layers);

  const GgufFile& file_;
  const ModelProfile& profile_;
  const std::string_view digest_;
  StageFactory& factory_;
  SliceCache& slices_;
  const Clock& clock_;
  MemoryLedger* const ledger_;
  const BeforeWork& before_work_;
  const std::string holder_;
  const Ranges usual_;
  Ranges ranges_;  // of the device that is measured
  double noise_ = 1;
};

StageMemory Calibrator::memory_of(LayerRange layers) const {
  return estimate_memory(profile_, {.layers = layers,
                                    .context = kTimedContext,
                                    .parallel = kTimedSlots,
                                    .max_step_rows = kTimedRows});
}

std::vector<LayerRange> Calibrator::ranges() const {
  std::vector<LayerRange> ranges{ranges_.middle};
  if (ranges_.last) ranges.push_back(*ranges_.last);
  if (ranges_.more) ranges.push_back(*ranges_.more);
  return ranges;
}

Bytes Calibrator::needed() const {
  Bytes most = 0;
  for (const LayerRange layers : ranges()) most = std::max(most, memory_of(layers).total());
  return most;
}

bool Calibrator::never_fits(const Device& device, LayerRange layers) const {
  if (ledger_ == nullptr) return false;
  const StageNeed need{device.id, memory_of(layers)};
  const auto granted = ledger_->check(memory_requests(holder_, {&need, 1}));
  return !granted && granted.error().code == ErrorCode::kDoesNotFit;
}

void Calibrator::choose_ranges_for(const Device& device) {
  ranges_ = usual_;
  if (ranges_.last && never_fits(device, *ranges_.last)) ranges_.last.reset();
  if (!ranges_.more || !never_fits(device, *ranges_.more)) return;
  ranges_.more.reset();
  for (const std::uint32_t cut : profile_.allowed_cuts | std::views::reverse) {
    if (cut <= ranges_.middle.size()) return;
    if (cut >= usual_.more->last || never_fits(device, {0, cut})) continue;
    ranges_.more = {0, cut};
    return;
  }
}

Status Calibrator::begin_work() const {
  if (before_work_()) return {};
  return fail(ErrorCode::kCancelled, "[calibration] told to stop");
}

Status Calibrator::check_memory(const Device& device, Bytes free) const {
  if (profile_.allowed_cuts.empty() && needed() > free) {
    return fail(ErrorCode::kExhausted,
                "[calibration] " + device.id + ": " + format_bytes(needed()) +
                    " free to hold the model expected: " + format_bytes(free));
  }
  if (ledger_ == nullptr) return {};
  for (const LayerRange layers : ranges()) {
    const StageNeed need{device.id, memory_of(layers)};
    GOGRID_RETURN_IF_ERROR(ledger_->check(memory_requests(holder_, {&need, 1})));
  }
  return {};
}

Result<HeldMemory> Calibrator::lease(const Device& device, LayerRange layers) {
  if (ledger_ == nullptr) return nullptr;
  const StageNeed need{device.id, memory_of(layers)};
  GOGRID_ASSIGN_OR_RETURN(auto leases, lease_stages(*ledger_, holder_, {&need, 1}));
  return std::move(leases.front());
}

Result<SliceTimings> Calibrator::run(const Device& device, LayerRange layers) {
  GOGRID_RETURN_IF_ERROR(begin_work());
  StageSpec spec;
  spec.model = profile_.name;
  spec.path = file_.path();
  spec.layers = layers;
  spec.n_layers = profile_.n_layers;
  spec.device = device;
  spec.context = kTimedContext;
  spec.parallel = kTimedSlots;
  spec.max_step_rows = kTimedRows;
  spec.embedding_scale = profile_.embedding_scale;
  if (!spec.is_whole()) {
    GOGRID_ASSIGN_OR_RETURN(spec.slice, slices_.get(file_, digest_, layers,
                                                    [&](Bytes, Bytes) { return before_work_(); }));
    spec.path = spec.slice->path();
    spec.embedding_source = file_.path();
    GOGRID_RETURN_IF_ERROR(begin_work());
  }
  // After all that a pause holds up: nobody leaves for what is not used.
  GOGRID_ASSIGN_OR_RETURN(spec.leases, lease(device, layers));
  auto timings = time_stage(spec, profile_, factory_, clock_, kTimePerStage);
  if (timings) noise_ = std::max(noise_, timings->noise);
  return timings;
}

Result<DeviceBudget> Calibrator::measure_here(const Device& device) {
  noise_ = 1;
  Measured measured;
  GOGRID_ASSIGN_OR_RETURN(measured.middle, run(device, ranges_.middle));
  // As one stage: what the head costs is spread over the layers.
  if (!usual_.last) measured.middle.head = false;
  if (ranges_.last) {
    GOGRID_ASSIGN_OR_RETURN(measured.last, run(device, *ranges_.last));
  }
  if (ranges_.more) {
    GOGRID_ASSIGN_OR_RETURN(measured.more, run(device, *ranges_.more));
  }
  DeviceBudget budget;
  set_speeds(measured, budget);
  if (usual_.last && !ranges_.last) guess_head(budget);
  return budget;
}

// Too large for the device as it is: it costs what as many bytes of a layer do.
void Calibrator::guess_head(DeviceBudget& budget) const {
  const auto layers = static_cast<double>(weight_of(profile_, {0, profile_.n_layers}));
  if (layers <= 0) return;
  const double as_layers = static_cast<double>(profile_.head_bytes) * profile_.n_layers / layers;
  budget.head_read_ms = as_layers * budget.layer_read_ms;
  budget.head_row_ms = as_layers * budget.layer_row_ms;
}

Result<DeviceBudget> Calibrator::measure(const Device& device) {
  Result<DeviceBudget> result = fail(ErrorCode::kInternal, "[calibration] not run");
  std::thread([&] {
    try {
      result = measure_here(device);
    } catch (const std::exception& error) {
      result = fail(ErrorCode::kInternal,
                    "[calibration] on " + device.id + ": " + std::string(error.what()));
    }
  }).join();
  return result;
}

Result<DeviceBudget> Calibrator::find_or_measure(const Device& device, Bytes free,
                                                 const CalibrationCache& cache,
                                                 const CalibrationNote& note) {
  if (auto kept = cache.find(digest_, device)) {
    note(device.id + ": " + describe(*kept) + " (measured before)");
    return *std::move(kept);
  }
  choose_ranges_for(device);
  GOGRID_RETURN_IF_ERROR(check_memory(device, free));
  GOGRID_ASSIGN_OR_RETURN(const DeviceBudget budget, measure(device));
  note(device.id + ": " + describe(budget));
  if (was_busy()) {
    note(device.id + ": was busy with something else: to be measured again next time");
  } else if (auto stored = cache.keep(digest_, device, budget); !stored) {
    note(stored.error().message);
  }
  return budget;
}

}  // namespace

CalibrationCache calibration_cache(const std::filesystem::path& cache_folder) {
  return {cache_folder, library_version()};
}

bool is_last_resort(const Device& device) {
  return !device.named && is_software_renderer(device.name);
}

std::vector<Bytes> plannable_memory(std::span<const Device> devices) {
  Bytes budgeted = 0;
  std::size_t sharing = 0;
  for (const Device& device : devices) {
    if (device.kind != DeviceKind::kCpu) continue;
    if (device.memory_budget) {
      budgeted = checked_add(budgeted, *device.memory_budget).value_or(UINT64_MAX);
    } else {
      ++sharing;
    }
  }
  std::vector<Bytes> result;
  for (const Device& device : devices) {
    const auto free = device.memory_free ? device.memory_free : device.memory_total;
    Bytes memory = free.value_or(kUnbounded);
    if (device.memory_budget) {
      memory = std::min(memory, *device.memory_budget);
    } else if (device.kind == DeviceKind::kCpu && free) {
      memory = (memory - std::min(memory, budgeted)) / sharing;
    }
    result.push_back(memory);
  }
  return result;
}

std::vector<Bytes> whole_memory(std::span<const Device> devices) {
  std::vector<Device> free(devices.begin(), devices.end());
  for (Device& device : free) device.memory_free = device.memory_total;
  return plannable_memory(free);
}

Result<Measurements> calibrate(const GgufFile& file, const ModelProfile& profile,
                               std::string_view digest, std::span<const Device> devices,
                               StageFactory& factory, SliceCache& slices,
                               const std::filesystem::path& cache_folder, const Clock& clock,
                               const CalibrationNote& note, MemoryLedger* ledger,
                               const BeforeWork& before_work) {
  Calibrator calibrator(file, profile, digest, factory, slices, clock, ledger, before_work);
  const CalibrationCache cache = calibration_cache(cache_folder);
  const std::vector<Bytes> memory = plannable_memory(devices);
  const std::vector<Bytes> whole = whole_memory(devices);
  const bool only_last_resorts = std::ranges::all_of(devices, is_last_resort);
  Measurements result;
  std::optional<Error> first_error;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const Device& device = devices[i];
    if (memory[i] == kUnbounded) note(device.id + ": its memory is unknown and no bound");
    Result<DeviceBudget> budget = DeviceBudget{};
    if (is_last_resort(device) && !only_last_resorts) {
      budget->last_resort = true;
      note(device.id + ": renders in software, not measured");
    } else if (profile.allowed_cuts.empty() && calibrator.needed() > whole[i]) {
      note(device.id + ": cannot hold the model, not measured");
    } else {
      budget = calibrator.find_or_measure(device, memory[i], cache, note);
    }
    if (budget) {
      budget->id = device.id;
      budget->memory = memory[i];
      result.budgets.push_back(*std::move(budget));
      continue;
    }
    Error error = std::move(budget).error();
    if (error.code == ErrorCode::kCancelled) return std::unexpected(std::move(error));
    note(device.id + ": left out: " + error.message);
    if (is_for_memory(error.code)) {
      result.unmeasured.emplace(device.id, std::move(error));
    } else if (!first_error) {
      first_error = std::move(error);
    }
  }
  if (result.budgets.empty() && result.unmeasured.empty() && first_error)
    return std::unexpected(*std::move(first_error));
  return result;
}

}  // namespace gogrid

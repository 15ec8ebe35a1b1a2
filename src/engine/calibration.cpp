#include "engine/calibration.h"

#include <llama.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/files.h"
#include "base/sha256.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::uint32_t, 3> kBatches{1, 4, 16};
constexpr std::uint32_t kSlots = 16;
constexpr std::uint32_t kContext = 256;
constexpr std::uint32_t kPrefillRows = 128;
constexpr int kWarmUps = 2;
constexpr int kRepeats = 7;
// Enough layers that a step's fixed cost weighs little, few enough that loading them is quick.
constexpr Bytes kMaxMeasuredBytes = kGiB;
constexpr Bytes kMaxCacheFile = 64 * kKiB;

// What one range of layers was measured to cost.
struct RangeCost {
  StepCost step;
  double prefill_row_ms = 0.0;
};

struct MeasuredRanges {
  LayerRange head;  // the last layers and the head
  std::optional<LayerRange>
      body;  // the first layers; none: the model cannot be cut, `head` is the whole of it
};

MeasuredRanges choose_ranges(const ModelProfile& profile) {
  const auto& cuts = profile.allowed_cuts;
  if (cuts.empty()) return {{0, profile.n_layers}, std::nullopt};
  std::uint32_t last = cuts.front();
  Bytes bytes = 0;
  std::uint32_t layer = 0;
  for (const std::uint32_t cut : cuts) {
    for (; layer < cut; ++layer) bytes += profile.layer_weights[layer];
    if (bytes <= kMaxMeasuredBytes && cut <= std::max(cuts.front(), profile.n_layers / 3))
      last = cut;
  }
  return {{cuts.back(), profile.n_layers}, LayerRange{0, last}};
}

// Runs steps on one stage. Positions go on from step to step, as in a stream.
class Probe {
 public:
  Probe(Stage& stage, const ModelProfile& profile, LayerRange range)
      : stage_(stage),
        n_embd_(profile.n_embd),
        first_(range.first == 0),
        last_(range.last == profile.n_layers) {}

  Result<RangeCost> measure() {
    RangeCost cost;
    std::vector<StepTime> times;
    for (const std::uint32_t batch : kBatches) {
      GOGRID_ASSIGN_OR_RETURN(const double ms, median_ms(batch));
      times.push_back({static_cast<double>(batch), ms});
    }
    cost.step = fit_step_cost(times);
    GOGRID_ASSIGN_OR_RETURN(const double prefill, prefill_ms());
    cost.prefill_row_ms = prefill / kPrefillRows;
    return cost;
  }

 private:
  Result<double> median_ms(std::uint32_t batch) {
    std::vector<double> times;
    for (int i = 0; i < kWarmUps + kRepeats; ++i) {
      StageInput input;
      for (std::uint32_t slot = 0; slot < batch; ++slot) add_row(input, static_cast<SlotId>(slot));
      GOGRID_ASSIGN_OR_RETURN(const double ms, run(input));
      if (i >= kWarmUps) times.push_back(ms);
    }
    std::ranges::nth_element(times, times.begin() + kRepeats / 2);
    return times[kRepeats / 2];
  }

  Result<double> prefill_ms() {
    double best = 0.0;
    for (int i = 0; i < 2; ++i) {  // the first one allocates
      StageInput input;
      input.kv_ops.push_back({KvOp::Kind::kTruncate, 0, 0, 0});
      positions_[0] = 0;
      for (std::uint32_t row = 0; row < kPrefillRows; ++row)
        add_row(input, 0, row + 1 == kPrefillRows);
      GOGRID_ASSIGN_OR_RETURN(best, run(input));
    }
    return best;
  }

  void add_row(StageInput& input, SlotId slot, bool wants_output = true) {
    const bool output = wants_output && last_;
    input.rows.push_back({slot, positions_[static_cast<std::size_t>(slot)]++, 1, output});
    if (!first_) input.hidden.insert(input.hidden.end(), n_embd_, 0.01F);
    if (!output) return;
    static const auto greedy =
        std::make_shared<const SamplingSpec>(SamplingSpec{.temperature = 0.0F, .logit_bias = {}});
    input.outputs.push_back({.sampling = greedy, .history = {}});
  }

  Result<double> run(StageInput& input) {
    input.step = ++step_;
    const auto begin = std::chrono::steady_clock::now();
    auto output = stage_.forward(input, {});
    if (!output) return std::unexpected(std::move(output).error());
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
  }

  Stage& stage_;
  const std::uint32_t n_embd_;
  const bool first_;
  const bool last_;
  std::array<std::int32_t, kSlots> positions_{};
  std::uint64_t step_ = 0;
};

struct Calibrator {
  const GgufFile& file;
  const ModelProfile& profile;
  std::string_view digest;
  StageFactory& factory;
  SliceCache& slices;

  Result<RangeCost> measure(const Device& device, LayerRange range) const {
    StageSpec spec;
    spec.model = profile.name;
    spec.path = file.path();
    spec.layers = range;
    spec.n_layers = profile.n_layers;
    spec.device = device;
    spec.context = kContext;
    spec.parallel = kSlots;
    spec.max_step_rows = kPrefillRows;
    spec.embedding_scale = profile.embedding_scale;
    if (!spec.is_whole()) {
      GOGRID_ASSIGN_OR_RETURN(spec.slice, slices.get(file, digest, range));
      spec.path = spec.slice->path();
      if (spec.is_first()) spec.embedding_source = file.path();
    }
    // A stage is made, called and destroyed on one thread of its own: it pins that thread.
    std::optional<Result<RangeCost>> cost;
    std::jthread([&] {
      auto stage = factory.make(spec, [](double) {}, {});
      cost = stage ? Probe(**stage, profile, range).measure() : std::unexpected(stage.error());
    }).join();
    return *std::move(cost);
  }

  Result<DeviceBudget> measure(const Device& device) const {
    const MeasuredRanges ranges = choose_ranges(profile);
    DeviceBudget budget;
    GOGRID_ASSIGN_OR_RETURN(const RangeCost head, measure(device, ranges.head));
    const double head_layers = ranges.head.size();
    if (!ranges.body) {
      budget.layer_read_ms = head.step.read_ms / head_layers;
      budget.layer_row_ms = head.step.row_ms / head_layers;
      budget.prefill_row_ms = head.prefill_row_ms / head_layers;
      return budget;
    }
    GOGRID_ASSIGN_OR_RETURN(const RangeCost body, measure(device, *ranges.body));
    const double body_layers = ranges.body->size();
    budget.layer_read_ms = body.step.read_ms / body_layers;
    budget.layer_row_ms = body.step.row_ms / body_layers;
    budget.prefill_row_ms = body.prefill_row_ms / body_layers;
    budget.head_read_ms = std::max(0.0, head.step.read_ms - budget.layer_read_ms * head_layers);
    budget.head_row_ms = std::max(0.0, head.step.row_ms - budget.layer_row_ms * head_layers);
    return budget;
  }
};

// What decides the speed: another file, device, set of cores or libllama is measured anew.
std::string cache_key(std::string_view digest, const Device& device) {
  Sha256 hash;
  hash.update(std::string("calibration 1\n") + std::string(digest) + "\n" + device.backend + "\n" +
              device.name + "\n" + llama_version() + "\n");
  for (const int core : device.cores) hash.update(std::to_string(core) + ",");
  return hash.finish() + ".json";
}

constexpr std::array<std::pair<const char*, double DeviceBudget::*>, 5> kFields{
    {{"layer_read_ms", &DeviceBudget::layer_read_ms},
     {"layer_row_ms", &DeviceBudget::layer_row_ms},
     {"head_read_ms", &DeviceBudget::head_read_ms},
     {"head_row_ms", &DeviceBudget::head_row_ms},
     {"prefill_row_ms", &DeviceBudget::prefill_row_ms}}};

std::optional<DeviceBudget> read_cached(const std::filesystem::path& path) {
  const auto text = read_file(path, kMaxCacheFile);
  if (!text) return std::nullopt;
  const Json json = Json::parse(*text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  DeviceBudget budget;
  for (const auto& [name, member] : kFields) {
    if (!json.contains(name) || !json[name].is_number()) return std::nullopt;
    budget.*member = json[name].get<double>();
  }
  return budget;
}

Status write_cached(const std::filesystem::path& path, const DeviceBudget& budget) {
  Json json = Json::object();
  for (const auto& [name, member] : kFields) json[name] = budget.*member;
  return write_file(path, json.dump());
}

Bytes plannable_memory(const Device& device) {
  // A driver that tells neither is planned for what the user said, or not at all.
  const Bytes free = device.memory_free.value_or(device.memory_total.value_or(0));
  if (!device.memory_budget) return free;
  return free == 0 ? *device.memory_budget : std::min(free, *device.memory_budget);
}

}  // namespace

StepCost fit_step_cost(std::span<const StepTime> times) {
  double n = 0, sum_b = 0, sum_t = 0, sum_bb = 0, sum_bt = 0;
  for (const auto& [rows, ms] : times) {
    n += 1;
    sum_b += rows;
    sum_t += ms;
    sum_bb += rows * rows;
    sum_bt += rows * ms;
  }
  const double spread = n * sum_bb - sum_b * sum_b;
  if (n == 0) return {};
  if (spread <= 0) return {sum_t / n, 0.0};
  StepCost cost;
  cost.row_ms = std::max(0.0, (n * sum_bt - sum_b * sum_t) / spread);
  cost.read_ms = (sum_t - cost.row_ms * sum_b) / n;
  if (cost.read_ms >= 0) return cost;
  return {0.0, sum_bt / sum_bb};
}

Result<std::vector<DeviceBudget>> calibrate(const GgufFile& file, const ModelProfile& profile,
                                            std::string_view digest,
                                            std::span<const Device> devices, StageFactory& factory,
                                            SliceCache& slices,
                                            const std::filesystem::path& cache_folder,
                                            const std::function<void(std::string_view)>& note) {
  const Calibrator calibrator{file, profile, digest, factory, slices};
  std::vector<DeviceBudget> budgets;
  for (const Device& device : devices) {
    const std::filesystem::path cached = cache_folder / cache_key(digest, device);
    auto budget = read_cached(cached);
    if (!budget) {
      note("measuring " + device.id + " (" + device.name + ")");
      GOGRID_ASSIGN_OR_RETURN(budget, calibrator.measure(device));
      GOGRID_RETURN_IF_ERROR(write_cached(cached, *budget));
    }
    budget->id = device.id;
    budget->memory = plannable_memory(device);
    budgets.push_back(*std::move(budget));
  }
  return budgets;
}

}  // namespace gogrid

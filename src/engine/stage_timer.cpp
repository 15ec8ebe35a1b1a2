#include "engine/stage_timer.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

namespace gogrid {
namespace {

constexpr std::array<std::uint32_t, 3> kDecodeRows = {1, 4, kTimedSlots};
constexpr std::size_t kBatchSizes = kDecodeRows.size() + 1;
constexpr std::size_t kMaxRepeats = 9;

double milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

class StageTimer {
 public:
  StageTimer(Stage& stage, const StageSpec& spec, const ModelProfile& profile, const Clock& clock)
      : stage_(stage), spec_(spec), profile_(profile), clock_(clock) {}

  // `slots` sequences, each with `rows / slots` rows from its start; the last row of each is an
  // output.
  Result<Timing> time(std::uint32_t rows, std::uint32_t slots, Duration at_most);
  double noise() const { return noise_; }

 private:
  StageInput step(std::uint32_t rows, std::uint32_t slots);
  void fill_hidden(StageInput& input) const;

  Stage& stage_;
  const StageSpec& spec_;
  const ModelProfile& profile_;
  const Clock& clock_;
  std::uint64_t steps_ = 0;
  double noise_ = 1;
};

// Ordinary numbers: zeros would be normalized to zeros, and choose the same experts in every row.
void StageTimer::fill_hidden(StageInput& input) const {
  input.hidden.resize(input.rows.size() * profile_.n_embd);
  std::uint32_t state = 1;
  for (float& value : input.hidden) {
    state = state * 1664525U + 1013904223U;  // Numerical Recipes' generator
    value = static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-31F;
  }
}

StageInput StageTimer::step(std::uint32_t rows, std::uint32_t slots) {
  StageInput input;
  input.step = ++steps_;
  const std::uint32_t length = rows / slots;
  const auto sampling = std::make_shared<SamplingSpec>();
  sampling->temperature = 0;
  OutputSpec output;
  output.sampling = sampling;
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    const auto id = static_cast<SlotId>(slot);
    input.kv_ops.push_back({KvOp::Kind::kTruncate, id, 0, 0});
    for (std::uint32_t i = 0; i < length; ++i) {
      const auto token = static_cast<Token>((slot * 7919 + i * 104729) % profile_.n_vocab);
      input.rows.push_back({id, static_cast<std::int32_t>(i), token, i + 1 == length});
    }
    if (spec_.is_last()) input.outputs.push_back(output);
  }
  if (!spec_.is_first()) fill_hidden(input);
  return input;
}

Result<Timing> StageTimer::time(std::uint32_t rows, std::uint32_t slots, Duration at_most) {
  const TimePoint begin = clock_.now();
  std::vector<double> times;
  // The first run warms caches up and counts only when there is no time for another.
  for (std::size_t run = 0; run <= kMaxRepeats; ++run) {
    StageInput input = step(rows, slots);
    const TimePoint before = clock_.now();
    auto output = stage_.forward(input, {});
    if (!output) return std::unexpected(std::move(output).error());
    const TimePoint after = clock_.now();
    if (run == 1) times.clear();
    times.push_back(milliseconds(after - before));
    if (after - begin > at_most) break;
  }
  const double least = std::ranges::min(times);
  if (least > 0) noise_ = std::max(noise_, median(std::move(times)) / least);
  return Timing{static_cast<double>(rows), least};
}

}  // namespace

Result<SliceTimings> time_stage(const StageSpec& spec, const ModelProfile& profile,
                                StageFactory& factory, const Clock& clock, Duration at_most) {
  GOGRID_ASSIGN_OR_RETURN(const auto stage, factory.make(spec, [](double) {}, {}));
  StageTimer timer(*stage, spec, profile, clock);
  SliceTimings timings;
  timings.layers = spec.layers.size();
  timings.head = spec.is_last();
  const Duration each = at_most / kBatchSizes;
  for (const std::uint32_t rows : kDecodeRows) {
    GOGRID_ASSIGN_OR_RETURN(const Timing timing, timer.time(rows, rows, each));
    timings.decode.push_back(timing);
  }
  GOGRID_ASSIGN_OR_RETURN(timings.prefill, timer.time(kTimedRows, 1, each));
  timings.noise = timer.noise();
  return timings;
}

}  // namespace gogrid

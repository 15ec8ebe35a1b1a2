#include "placement/cost_model.h"

#include <algorithm>
#include <map>

namespace gogrid {
namespace {

constexpr double kLeastMs = 1e-6;
constexpr double kMsPerSecond = 1000.0;

// The time one group takes from one step to its next: as long as the busiest device needs for all
// groups' turns, and as the group's own way through all stages.
double period_ms(std::span<const PlacedRange> stages, std::span<const double> times,
                 std::uint32_t groups, double hop_ms) {
  std::map<const DeviceBudget*, double> busy;
  double way = hop_ms * static_cast<double>(stages.size() - 1);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    busy[stages[i].device] += times[i];
    way += times[i];
  }
  double longest = 0;
  for (const auto& [device, ms] : busy) longest = std::max(longest, ms);
  return std::max(longest, way / groups);
}

}  // namespace

double step_ms(const PlacedRange& range, std::uint32_t n_layers, double rows) {
  const DeviceBudget& device = *range.device;
  double ms = device.call_ms;
  ms += range.layers.size() * (device.layer_read_ms + device.layer_row_ms * rows);
  if (range.layers.last == n_layers) ms += device.head_read_ms + device.head_row_ms * rows;
  return std::max(ms, kLeastMs);
}

Prediction predict(std::span<const PlacedRange> stages, std::uint32_t n_layers,
                   std::uint32_t parallel, std::uint32_t groups, double hop_ms) {
  const double rows = static_cast<double>(parallel) / groups;
  std::vector<double> decode;
  std::vector<double> prefill;  // a row of a large batch
  for (const PlacedRange& stage : stages) {
    decode.push_back(step_ms(stage, n_layers, rows));
    prefill.push_back(std::max(kLeastMs, stage.layers.size() * stage.device->prefill_row_ms));
  }
  // A chunk of prompt is so many rows that its hop is nothing.
  return {.decode_tokens_per_s = kMsPerSecond * rows / period_ms(stages, decode, groups, hop_ms),
          .prefill_tokens_per_s = kMsPerSecond / period_ms(stages, prefill, groups, 0)};
}

}  // namespace gogrid

// Decides the plan. Pure: the same inputs give the same plan, nothing is read or written.
//
// Cost model (measured): a stage's step over b rows takes t(b) = w + c * b, where w and c are sums
// over its layers, and w has a fixed cost besides. One stage: X_one = B /
// sum t_s(B). Pipeline with G groups: X_pipe = (B/G) / max(max_s t_s(B/G), (sum_s t_s(B/G) + hops)
// / G).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/model_profile.h"
#include "model/stage_types.h"
#include "placement/plan.h"
#include "placement/stage_quantization.h"

namespace gogrid {

// A device as the planner sees it: what it can hold and how fast it was measured to be for this
// model.
struct DeviceBudget {
  std::string id;
  Bytes memory = 0;      // what may be planned: min(budget, free, room under its cap). "Unknown"
                         // is the caller's to resolve
  double call_ms = 0.0;  // fixed cost of a step, however many layers
  double layer_read_ms = 0.0;   // w of one layer: reading its weights once
  double layer_row_ms = 0.0;    // c of one layer: one more row
  double head_read_ms = 0.0;    // w of the head (last stage)
  double head_row_ms = 0.0;     // c of the head
  double prefill_row_ms = 0.0;  // per row and layer in a large batch
  bool last_resort = false;     // software renderers: used only when named by the user
};

struct PlanQuestion {
  std::string model;
  std::uint32_t context = 4096;
  std::uint32_t parallel = 4;
  std::uint32_t max_step_rows = 512;
  bool flash_attention = true;
  double hop_ms = 0.05;  // handing a step from stage to stage
  StageQuantization quantize = {};
  // smaller_layers() of the model. Null or without what is asked for: stages have its own weights.
  std::shared_ptr<const std::vector<SmallerLayers>> smaller = {};
};

// What is asked where nobody says more: 4096 tokens, or what the model was trained for if that is
// less, and four sequences.
PlanQuestion question_for(std::string_view model, const ModelProfile& profile,
                          std::optional<std::uint32_t> context,
                          std::optional<std::uint32_t> parallel);

// Where the question allows smaller types, they are taken only if it does not fit without: of all
// ways to place it that with the least loss, by what the types were published to cost and the share
// of the weights that get them; of equal ones the fastest.
//
// kDoesNotFit: what is short by how much, and the largest context and parallel that would fit.
Result<Plan> plan_stages(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                         const PlanQuestion& question);

// Were smaller types allowed, where they are not; empty: it does not fit so either.
std::optional<Plan> plan_with_smaller_stages(const ModelProfile& profile,
                                             std::span<const DeviceBudget> devices,
                                             const PlanQuestion& question);

// Stages by hand ("0:15@cpu-a,15:30@vulkan0"): the same checks and the same prediction, no choice
// but of types: where they are allowed, a device that is too small has the largest that fits.
struct StageChoice {
  LayerRange layers;
  std::string device;
};
Result<std::vector<StageChoice>> parse_split(std::string_view text);
Result<Plan> plan_by_hand(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                          const PlanQuestion& question, std::span<const StageChoice> stages);

}  // namespace gogrid

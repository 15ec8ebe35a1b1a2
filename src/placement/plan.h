// Where a model runs: an ordered list of layer ranges on devices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/layer_range.h"
#include "model/memory_estimator.h"
#include "model/model_loss.h"
#include "model/quantization_types.h"

namespace gogrid {

struct PlannedStage {
  std::string device;
  LayerRange layers;
  StageMemory memory;
  double step_ms = 0.0;  // predicted, one decode step of one group
  // Of its weights, where they are made smaller for it (model/stage_types.h); empty: the model's
  // own.
  std::optional<WeightType> type = {};
};

struct Prediction {
  double decode_tokens_per_s = 0.0;  // all sequences together
  double prefill_tokens_per_s = 0.0;
};

struct Plan {
  std::string model;
  std::vector<PlannedStage> stages;  // in order; covers all layers once
  std::uint32_t groups = 1;          // groups of sequences in flight
  std::uint32_t context = 0;         // tokens per sequence
  std::uint32_t parallel = 0;        // sequences at once
  Prediction predicted;
  std::vector<std::string> why;  // reasons, in words, with the figures they rest on
  // What types that were allowed are published to cost another model (SmallerLayers::cost), by the
  // share of the weights that have them: to weigh plans against each other. Forced ones count
  // nothing.
  double expected_loss = 0.0;
  // What the smaller types of its stages cost; measured by whoever means to load it, never planned.
  std::optional<ModelLoss> loss = {};
};

bool has_smaller_stages(const Plan& plan);
// "layers 18-30 on cpu-b as q4_K": all stages that have a type of their own; empty: none has.
std::string smaller_stages_text(const Plan& plan);

}  // namespace gogrid

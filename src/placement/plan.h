// Where a model runs: an ordered list of layer ranges on devices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/layer_range.h"
#include "model/memory_estimator.h"

namespace gogrid {

struct PlannedStage {
  std::string device;
  LayerRange layers;
  StageMemory memory;
  double step_ms = 0.0;  // predicted, one decode step of one group
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
};

}  // namespace gogrid

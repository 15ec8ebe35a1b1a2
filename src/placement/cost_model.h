// What a plan is predicted to do, from what its devices were measured to do. Pure.
#pragma once

#include <span>
#include <vector>

#include "model/layer_range.h"
#include "placement/plan.h"
#include "placement/planner.h"

namespace gogrid {

// A range on a device, by reference: the budget must outlive it.
struct PlacedRange {
  const DeviceBudget* device = nullptr;
  LayerRange layers;
  const SmallerLayers* as = nullptr;  // null: the model's own weights
};

// t(rows) = w + c * rows of one decode step, in milliseconds. Never zero, so that rates are finite.
double step_ms(const PlacedRange& range, std::uint32_t n_layers, double rows);

// Of stages in order, `groups` of sequences in flight. Stages that share a device take turns on it.
Prediction predict(std::span<const PlacedRange> stages, std::uint32_t n_layers,
                   std::uint32_t parallel, std::uint32_t groups, double hop_ms);

}  // namespace gogrid

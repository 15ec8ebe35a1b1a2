// Whether and how a model runs on devices, for people who have not loaded it: on each alone, on
// sets of them, and what would make it fit. Pure; nothing is measured.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/model_profile.h"
#include "model/quantized_size.h"
#include "placement/planner.h"

namespace gogrid {

struct CheckedDevice {
  DeviceBudget budget = {};  // its memory: were nothing else in it
  Bytes memory_now = 0;      // beside what is loaded
  bool measured = false;     // for this model; else its speeds are not known
};

struct CompatibilityQuestion {
  PlanQuestion plan = {};
  std::uint32_t most_parallel = 256;  // how far to look for what fits
  // For the slices of a model that is cut; empty: not known, no bound.
  std::optional<Bytes> disk = {};
};

// Of a set of devices.
struct SetVerdict {
  std::vector<std::string> devices = {};
  bool fits = false;
  Bytes short_bytes = 0;           // of memory, over all of them; 0 where it fits
  std::uint32_t max_context = 0;   // with the question's sequences; at most what it was trained for
  std::uint32_t max_parallel = 0;  // of the question's context
  std::optional<Prediction> predicted = {};  // where all of them were measured
  std::vector<std::string> why = {};
};

// A type in which the whole model would fit.
struct FittingType {
  std::string type = {};
  Bytes bytes = 0;
  std::optional<PublishedLoss> loss = {};
};

// A stage whose layers would be in a smaller type.
struct SmallerStage {
  std::string device = {};
  LayerRange layers = {};
  WeightType type = {};
};

struct CompatibilityReport {
  std::string model = {};
  std::uint32_t context = 0;  // that was asked for
  std::uint32_t parallel = 0;
  std::vector<SetVerdict> verdicts = {};
  std::vector<FittingType> would_fit = {};  // where it does not fit as it is; the largest first
  // Where it does not fit as it is, and smaller types of stages are not allowed: those with which
  // it would fit, on all the devices.
  std::vector<SmallerStage> smaller_stages = {};
  std::optional<Error> never = {};  // why it can never run here: what is short, what lacks

  bool runs() const { return !never; }
};

// Sets that are looked at: each device alone; where it may be cut, the 2, 3, ... with most memory;
// and all of them, at most as many as a plan takes (CutSearch::kMaxDevices). Renderers in software
// count only where there is nothing else, or they were named.
//
// "Fits" is within the estimate (10 %, model/memory_estimator.h) and under the caps, were nothing
// else in the memory; where others hold it now, the verdict says so.
CompatibilityReport check_compatibility(const ModelProfile& profile,
                                        std::span<const QuantizedModel> smaller,
                                        std::span<const CheckedDevice> devices,
                                        const CompatibilityQuestion& question);

// Of `smaller` those with which the question fits on these devices.
std::vector<FittingType> fitting_types(std::span<const QuantizedModel> smaller,
                                       std::span<const DeviceBudget> devices,
                                       const PlanQuestion& question);
// "; as q4_k_m (1.2 GiB) it would fit": the largest of them, for an error's text; empty: none.
std::string would_fit_text(std::span<const FittingType> types);
// "; with --quantize-stages allow it would: layers 18-30 on cpu-b as q4_K"; empty without a plan.
std::string smaller_stages_hint(const std::optional<Plan>& plan);

}  // namespace gogrid

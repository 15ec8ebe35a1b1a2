// What smaller types of stages were measured to cost, on disk: one small JSON file a model.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/layer_range.h"
#include "model/model_loss.h"
#include "placement/plan.h"

namespace gogrid {

struct SmallerRange {
  LayerRange layers;
  std::string type;  // "q4_K"
  bool operator==(const SmallerRange&) const = default;
};

// Of a plan: its stages that have a type of their own, wherever they run.
std::vector<SmallerRange> smaller_ranges(const Plan& plan);
// "layers 12-18 as q4_K, 18-30 as q8_0".
std::string to_string(std::span<const SmallerRange> ranges);

struct StageLossRecord {
  std::vector<SmallerRange> stages;
  ModelLoss loss;
};

// Thread-safe; several processes may share a folder: of two that write at once one may have to
// measure again.
class StageLossCache {
 public:
  explicit StageLossCache(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // What was measured of the model with this digest; the last first. Empty where nothing was, or
  // the file is damaged.
  std::vector<StageLossRecord> list(std::string_view digest) const;
  std::optional<ModelLoss> find(std::string_view digest, std::span<const SmallerRange> stages,
                                std::string_view text_digest) const;
  // In place of what was measured before of the same stages; the oldest of many go.
  Status keep(const StageLossRecord& record) const;

 private:
  std::filesystem::path path_of(std::string_view digest) const;

  const std::filesystem::path folder_;
};

}  // namespace gogrid

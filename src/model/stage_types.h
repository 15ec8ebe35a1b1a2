// Types that the layers of one stage may have instead of the model's own, where its device is too
// small for them, and what they then take.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf_file.h"
#include "model/model_profile.h"
#include "model/quantization_types.h"

namespace gogrid {

// In any case: "q4_k". kInvalidArgument names the nearest. Those that need no importance matrix.
Result<WeightType> find_stage_type(std::string_view name);
std::vector<std::string> stage_type_names();

// What a tensor of the model becomes in a slice of this type; empty: it stays as it is.
//
// Matrices of layers get the type, or what takes its place where their rows do not fit its blocks,
// as libllama's quantizer has it (`pure`). What chooses among all tokens (output.weight, or the
// embedding it is tied to) has at least q6_K. Nothing becomes larger than it is.
std::optional<WeightType> type_in_slice(const GgufTensor& tensor, const WeightType& type);

// A model with all its layers in another type.
struct SmallerLayers {
  WeightType type;
  // What the type was published to cost another model: added perplexity, to weigh one against
  // another. Only of those that nothing smaller beats; the others are taken when they are asked
  // for.
  std::optional<double> cost = {};
  ModelProfile profile = {};  // with the bytes that slices of this type have
};

// Of all types for stages those in which the layers are smaller than they are, the largest first.
std::vector<SmallerLayers> smaller_layers(const GgufFile& file, const ModelProfile& profile);

}  // namespace gogrid

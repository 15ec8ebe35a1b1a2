// Which stages may have their layers in a smaller type than the model's own (--quantize-stages).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/quantization_types.h"

namespace gogrid {

struct StageQuantization {
  // The planner may take smaller types where the model does not fit otherwise, with the least loss
  // that fits. False: it never does by itself.
  bool allow = false;
  // By device: what its layers are in, whether that is needed or not.
  std::map<std::string, WeightType> forced = {};
};

// "off", "allow", "cpu-b=q4_k", or several of the last two with commas between:
// "allow,cpu-b=q8_0". kInvalidArgument says which part is wrong, and names the nearest type.
Result<StageQuantization> parse_quantize_stages(std::string_view text);

}  // namespace gogrid

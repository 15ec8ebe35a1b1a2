// Which tensors get another type than the mix would give them, as people write it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/quantization_types.h"

namespace gogrid {

struct TensorOverride {
  std::string pattern;  // a regular expression (ECMAScript), searched for in tensors' names
  WeightType type;
};

// "attn_v=q8_0", "blk\.0\..*=q6_k". kInvalidArgument says what is wrong with which part.
Result<TensorOverride> parse_tensor_override(std::string_view text);

// A recipe: such words, separated by blanks or line ends; '#' begins a comment. `where` is for
// errors: "recipe.txt:7: …".
Result<std::vector<TensorOverride>> parse_recipe(std::string_view text, std::string_view where);

}  // namespace gogrid

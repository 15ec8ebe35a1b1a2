// Which tensors get another type than the mix would give them, as people write it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/quantization_types.h"

namespace gogrid {

struct TensorOverride {
  // A regular expression (ECMAScript), searched for in tensors' names; without what could take for
  // ever: at most 3 repeats, none of a group with a choice or a repeat in it.
  std::string pattern;
  WeightType type;
};

// "attn_v=q8_0", "blk\.0\..*=q6_k". kInvalidArgument says what is wrong with which part.
Result<TensorOverride> parse_tensor_override(std::string_view text);

// A recipe: such words, separated by blanks or line ends; '#' begins a comment. `where` is for
// errors: "recipe.txt:7: …".
Result<std::vector<TensorOverride>> parse_recipe(std::string_view text, std::string_view where);

// A tensor by its whole name.
struct TypedTensor {
  std::string name;
  WeightType type;
};

// Overrides that give each of these tensors its type and fit no other name: one for each part of a
// layer and type, with the numbers of its layers ("^blk\.(0|1|5)\.attn_v\.weight$"). libllama
// compiles each pattern anew for each tensor, so that few are what matters. Names in any order.
std::vector<TensorOverride> overrides_for(std::span<const TypedTensor> tensors);

// What parse_recipe() reads back as the same overrides: one a line.
std::string format_recipe(std::span<const TensorOverride> overrides);

}  // namespace gogrid

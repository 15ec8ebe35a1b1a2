// Which type each tensor gets so that a model is at most so large, with the least loss: a knapsack
// of which one item in each group is taken. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"

namespace gogrid {

// One of the types that a tensor could get.
struct TypeOption {
  Bytes bytes = 0;
  double loss = 0;  // what the model loses by it; finite, of any unit that adds up
};
// Those of one tensor: at least one.
using TypeOptions = std::vector<TypeOption>;

// The size with the smallest option for every tensor; sums stop at the end of 64 bits.
Bytes smallest_size(std::span<const TypeOptions> tensors);

// The index of the option to take for each tensor, so that their bytes add up to at most `budget`;
// empty where even the smallest do not fit.
//
// Takes the steps between options in the order of loss saved by the byte (which is what Lagrange's
// method would do), spends what is left over, and then exchanges pairs as long as that saves loss.
// The result is at most one step's saving worse than the best there is
// (tests/model/type_choice_test.cpp compares with trying everything). Takes
// milliseconds for hundreds of tensors, about a second for thousands.
std::optional<std::vector<std::size_t>> choose_types(std::span<const TypeOptions> tensors,
                                                     Bytes budget);

}  // namespace gogrid

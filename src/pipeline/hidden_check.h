// What a stage hands on is checked at the cut, before it can spoil the next stage's KV cache.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace gogrid {

// Rows of `hidden` ([n_rows, hidden.size() / n_rows], row-major) that hold NaN or infinity, in
// order. They are overwritten with zeros. hidden.size() must be a multiple of n_rows > 0.
std::vector<std::size_t> zero_nonfinite_rows(std::span<float> hidden, std::size_t n_rows);

}  // namespace gogrid

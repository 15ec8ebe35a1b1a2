#include "pipeline/hidden_check.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace gogrid {
namespace {

// All exponent bits set means NaN or infinity (IEEE 754). On integers, without a branch, so that
// the compiler may use vectors: this runs over every row of every step.
bool all_finite(std::span<const float> row) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  std::uint32_t found = 0;
  for (const float value : row) {
    found |=
        static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent);
  }
  return found == 0;
}

}  // namespace

std::vector<std::size_t> zero_nonfinite_rows(std::span<float> hidden, std::size_t n_rows) {
  std::vector<std::size_t> bad;
  const std::size_t width = hidden.size() / n_rows;
  for (std::size_t i = 0; i < n_rows; ++i) {
    const auto row = hidden.subspan(i * width, width);
    if (all_finite(row)) continue;
    std::ranges::fill(row, 0.0F);
    bad.push_back(i);
  }
  return bad;
}

}  // namespace gogrid

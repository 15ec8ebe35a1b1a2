// Rows of weights in another type, on several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/quantization_types.h"

namespace gogrid {

// Rows of one tensor.
struct WeightRows {
  std::span<const std::byte> bytes;  // whole rows, as the file has them
  std::uint32_t type = 0;            // ggml_type that can be read as floats
  std::uint64_t row_length = 0;      // weights; a multiple of both types' blocks
};

// The same rows in `type` (one that needs no importance matrix), the same bytes whatever the number
// of threads. kCorrupt when a weight is no finite number. Takes four bytes a weight and the result
// meanwhile: hand it some rows at a time.
Result<std::vector<std::byte>> quantize_rows(const WeightRows& rows, const WeightType& type,
                                             unsigned threads);

}  // namespace gogrid

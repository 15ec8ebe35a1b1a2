// Rows of weights in another type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/quantization_types.h"

namespace gogrid {

// Rows of one tensor.
struct WeightRows {
  std::span<const std::byte> bytes;  // whole rows, as the file has them
  std::uint32_t type = 0;            // ggml_type that can be read as floats
  std::uint64_t row_length = 0;      // weights; a multiple of both types' blocks
  // How much each column matters; empty: all alike.
  std::span<const float> importance = {};
};

// Rows that are quantized in one go: so many weights that they stay in a processor's cache on their
// way, and one row at least.
std::uint64_t rows_at_once(std::uint64_t row_length);
// Memory of one thread that takes rows_at_once(): floats, and what is made of them.
Bytes quantizing_memory(std::uint64_t row_length);

// One thread's work, with its memory.
class RowQuantizer {
 public:
  // For up to so many weights at once.
  explicit RowQuantizer(std::uint64_t most_weights) : floats_(most_weights) {}

  // Writes the rows in `type` to `made`, which has exactly their size. The same bytes as
  // libllama's quantizer makes. Types that need an importance must have one. kCorrupt when a weight
  // is no finite number, or becomes none.
  Status quantize(const WeightRows& rows, const WeightType& type, std::span<std::byte> made);

 private:
  std::vector<float> floats_;
};

// kCorrupt when a weight is no finite number.
Status check_numbers(std::uint32_t type, std::span<const std::byte> bytes);

// The same rows in `type`, on several threads; the same bytes whatever their number. kCorrupt as
// above. Takes the result's memory beside what the threads work with: hand it some rows at a time.
Result<std::vector<std::byte>> quantize_rows(const WeightRows& rows, const WeightType& type,
                                             unsigned threads);

}  // namespace gogrid

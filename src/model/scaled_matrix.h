// One matrix of FP8 with its scales, checked, and its weights.
//
// weight(row, column) = scale * value(row, column). In safetensors:
//
//   X.weight            [rows, columns] of F8_E4M3
//   X.weight_scale      of F32, BF16 or F16: one number ([] or [1]) or one a row ([rows] or
//                       [rows, 1]); of blocks [ceil(rows / block), ceil(columns / block)], those at
//                       the ends cut short
//   X.weight_scale_inv  the same, as DeepSeek calls it: the inverse of what made values of weights
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/safetensors_file.h"
#include "model/scaled_format.h"

namespace gogrid {

struct ScaledTensors {
  TensorView weight;
  TensorView scale;      // X.weight_scale
  TensorView scale_inv;  // X.weight_scale_inv
};

// Immutable; thread-safe. Sees the tensors' bytes, which must outlive it.
class ScaledMatrix {
 public:
  // Reads all scales. `name` is the module's ("X"), for errors, all of them kCorrupt: a weight
  // that is no matrix of F8_E4M3, scales that are absent, there twice, of another type or
  // shape than the format and the weight ask for, infinite or no number.
  static Result<ScaledMatrix> open(const ScaledFormat& format, std::string_view name,
                                   const ScaledTensors& tensors);

  std::uint64_t rows() const { return rows_; }
  std::uint64_t columns() const { return columns_; }

  // out.size() weights in a row and on into the next, from the one of that index (row * columns() +
  // column) on: all below rows() * columns().
  void read(std::uint64_t first, std::span<float> out) const;

 private:
  ScaledMatrix(std::string_view name, const ScaledTensors& tensors)
      : name_(name),
        weight_(tensors.weight),
        scale_(tensors.scale.info != nullptr ? tensors.scale : tensors.scale_inv) {}
  Status set_blocks(const ScaledFormat& format);
  Status check_scales() const;
  std::unexpected<Error> refuse_scale(const std::string& what) const;
  float scale_at(std::uint64_t row, std::uint64_t column) const;

  std::string_view name_;  // while opening
  TensorView weight_;
  TensorView scale_;
  std::uint64_t rows_ = 0;
  std::uint64_t columns_ = 0;
  // Of weights that share a scale; no more than the matrix has.
  std::uint64_t block_rows_ = 0;
  std::uint64_t block_columns_ = 0;
};

}  // namespace gogrid

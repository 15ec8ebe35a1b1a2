// Packed weights (GPTQ, AWQ) as weights of a GGUF: the type that loses least, and the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/packed_matrix.h"

namespace gogrid {

// The type (ggml_type) a matrix becomes where nobody asks for another. Where groups are whole runs
// of 32 inputs, codes stay as they are, and nothing is lost but what rounding to 16 bits takes:
//   q4_0  codes of up to 4 bits no more than 8 below and 7 above their zeros; exact with F16 scales
//   q4_1  other codes of up to 4 bits: -scale * zero is rounded to 16 bits, to the nearest
//   q8_0  codes of 8 bits around the middle one; exact with F16 scales
// All others (act-order, shorter groups, 8 bits not symmetric) are rounded anew, by ggml, to a type
// of two bits more: of normally distributed weights that adds about 1 % to the error that packing
// made. q4_k, q5_k and q6_k for 2, 3 and 4 bits; where rows are no multiple of 256, q4_0, q5_0 and
// q8_0; always q8_0 for 8 bits; and f16 where rows are no multiple of 32.
std::uint32_t natural_type(const PackedMatrix& matrix);

// The number of general.file_type for a file of mostly such weights (enum llama_ftype).
std::uint32_t file_type_of_packed(std::uint32_t type);

// Sums of squares, for a relative error.
struct SquaredError {
  double error = 0;
  double weights = 0;

  SquaredError& operator+=(const SquaredError& other) {
    error += other.error;
    weights += other.weights;
    return *this;
  }
  // Root mean square over root mean square; 1 where all weights were 0 and are not.
  double relative() const;
};

// What weights lose that are stored as `stored` says, of a ggml_type: as ggml reads it, whatever
// went wrong shows. `read_back` is as long as `weights`, and scratch.
SquaredError error_of(std::uint32_t type, const std::byte* stored, std::span<const float> weights,
                      std::span<float> read_back);

// Writes rows of a matrix in one type, and measures what they lost. Not thread-safe: one a thread.
class RowPacker {
 public:
  // `type` is a ggml_type that ggml writes without an importance matrix, of whose block inputs()
  // is a multiple. `matrix` must outlive it.
  RowPacker(const PackedMatrix& matrix, std::uint32_t type);

  std::size_t row_bytes() const { return row_bytes_; }

  // The rows (below outputs()), one behind the other, into `out`: rows.size() * row_bytes().
  // kInvalidArgument when a scale or a weight is beyond the type's range.
  Result<SquaredError> pack(std::span<const std::uint64_t> rows, std::span<std::byte> out);

 private:
  void dequantize(std::span<const std::uint8_t> codes);
  bool keep_codes(std::span<const std::uint8_t> codes, std::byte* out);
  bool encode_row(std::span<const std::uint8_t> codes, std::byte* out);

  const PackedMatrix& matrix_;
  const std::uint32_t type_;
  const bool keeps_codes_;
  const std::size_t row_bytes_;
  RowGroups groups_;                 // of the row at hand
  std::vector<std::uint8_t> codes_;  // of the rows at hand
  std::vector<float> weights_;       // of the row at hand
  std::vector<float> read_back_;
};

}  // namespace gogrid

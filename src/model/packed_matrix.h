// One matrix as GPTQ and AWQ pack it, checked, and its codes by the row.
//
// weight(output, input) = scale(group, output) * (code(output, input) - zero(group, output)), where
// the group is the input's. In safetensors, with B bits a code:
//
//            GPTQ (Frantar et al., arXiv:2210.17323;     AWQ (Lin et al., arXiv:2306.00978;
//            as AutoGPTQ packs it)                       AutoAWQ's version "gemm")
//   qweight  [inputs * B / 32, outputs] of I32: inputs   [inputs, outputs / 8] of I32: outputs in
//            from the lowest bit on; of 3 bits, 32       the order 0 2 4 6 1 3 5 7 from the lowest
//            of them run on through three words          bit on
//   qzeros   [groups, outputs * B / 32] of I32: outputs  [groups, outputs / 8], as qweight
//            from the lowest bit on; see StoredZeros
//   scales   [groups, outputs] of F16 (BF16, F32)        the same
//   g_idx    [inputs] of I32: the group of each input    none
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/packed_format.h"
#include "model/safetensors_file.h"

namespace gogrid {

struct PackedTensors {
  TensorView qweight;
  TensorView qzeros;
  TensorView scales;
  TensorView g_idx;
};

// A scale and a zero for each group of a row.
struct RowGroups {
  std::vector<float> scales;
  std::vector<float> zeros;  // whole numbers, 0 to the highest code
};

// Immutable; thread-safe. Sees the tensors' bytes, which must outlive it.
class PackedMatrix {
 public:
  // Reads all but qweight. `name` is the matrix's, for errors, all of them kCorrupt: a tensor that
  // is absent, of another type or shape than the format and the other tensors ask for, a group that
  // is not there, a scale that is infinite or no number.
  static Result<PackedMatrix> open(const PackedFormat& format, std::string_view name,
                                   const PackedTensors& tensors);

  std::uint64_t inputs() const { return inputs_; }
  std::uint64_t outputs() const { return outputs_; }
  std::uint64_t groups() const { return groups_; }
  const PackedFormat& format() const { return format_; }
  // Of all groups and outputs.
  std::uint32_t least_zero() const { return least_zero_; }
  std::uint32_t most_zero() const { return most_zero_; }
  // Whether the zeros are stored in another way than the format says: only where it says that they
  // are symmetric too, so that they are known.
  bool zeros_mislabelled() const { return zeros_ != format_.zeros; }
  // Inputs of a group that lie side by side, each group's behind the one before; 0: they do not, as
  // act-order leaves them.
  std::uint64_t run() const { return run_; }
  // The group of an input, below groups().
  std::uint64_t group_of(std::uint64_t input) const {
    return run_ != 0 ? input / run_ : group_of_[input];
  }

  // Codes of the rows (below outputs()), one behind the other: [rows.size(), inputs()].
  void unpack(std::span<const std::uint64_t> rows, std::span<std::uint8_t> codes) const;
  // Scales and zeros of the row, [groups()] each.
  void read_groups(std::uint64_t row, RowGroups& groups) const;

 private:
  PackedMatrix(const PackedFormat& format, std::string_view name, const PackedTensors& tensors)
      : format_(format), name_(name), tensors_(tensors) {}
  Status read_size();
  Status check_shapes() const;
  Status check_shape(std::string_view part, const TensorView& tensor,
                     std::initializer_list<std::uint64_t> shape) const;
  Status read_group_index();
  Status check_scales() const;
  void read_zero_range();
  bool all_zeros_are(std::uint32_t zero, StoredZeros stored) const;
  std::uint32_t zero_at(std::uint64_t group, std::uint64_t output, StoredZeros stored) const;
  float scale_at(std::uint64_t group, std::uint64_t output) const;

  PackedFormat format_;
  std::string_view name_;  // while opening
  PackedTensors tensors_;
  std::uint64_t inputs_ = 0;
  std::uint64_t outputs_ = 0;
  std::uint64_t groups_ = 0;
  std::uint64_t run_ = 0;
  std::vector<std::uint32_t> group_of_;  // empty where run_ says it
  StoredZeros zeros_ = StoredZeros::kPlain;
  std::uint32_t least_zero_ = 0;
  std::uint32_t most_zero_ = 0;
};

}  // namespace gogrid

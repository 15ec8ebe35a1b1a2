// What was lost when packed weights (GPTQ, AWQ) or scaled ones (FP8) became weights of a GGUF, as
// it was measured.
#pragma once

#include <cstdint>
#include <string>

namespace gogrid {

// The error of a tensor is the root of the mean square of what its weights differ by from those
// that were packed or scaled, over the root mean square of the latter: both as 32-bit floats.
struct RepackRecord {
  std::string from;           // "gptq 4 bit, groups of 128", "fp8, blocks of 128 x 128"
  std::uint64_t tensors = 0;  // that were packed or scaled
  double mean = 0;            // of the tensors' errors
  double worst = 0;
  std::string worst_tensor;  // its name in the GGUF

  bool operator==(const RepackRecord&) const = default;
};

}  // namespace gogrid

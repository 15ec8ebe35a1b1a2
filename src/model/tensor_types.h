// The types that tensors of a GGUF have, as the ggml that this program links knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace gogrid {

struct TensorType {
  std::uint32_t number = 0;  // ggml_type
  std::string_view name;     // ggml's: "q4_1", "q4_K", "iq2_xxs"
  std::uint64_t block = 1;   // elements that are stored together; a row is a multiple of it
  Bytes block_bytes = 0;
  bool intermediate = false;  // of results while computing: no file has weights of it
  double bits_per_weight() const {
    return 8.0 * static_cast<double>(block_bytes) / static_cast<double>(block);
  }
};

// Empty for a number that this ggml has no type for; why_no_type() then says which it is.
std::optional<TensorType> find_tensor_type(std::uint32_t number);
std::optional<TensorType> find_tensor_type(std::string_view name);

// "31 (q4_0_4_4, which ggml reads no longer)", "77 (ggml 0.27.0 knows types up to 42)".
std::string why_no_type(std::uint32_t number);

}  // namespace gogrid

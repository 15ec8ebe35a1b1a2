// What weights can be made of, by name: what libllama writes, and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gogrid {

// A recipe of libllama's own: which type each tensor gets.
struct QuantizationMix {
  std::string_view name;  // "q4_k_m"
  int file_type = 0;      // llama_ftype
};

// A type that a matrix can be written in.
struct WeightType {
  std::string_view name;    // "q4_k"
  std::uint32_t type = 0;   // ggml_type
  std::uint32_t block = 1;  // weights of a row that are packed together: divides a row's length
};

// In any case; "q4_k" is "q4_k_m". kInvalidArgument names the nearest.
Result<QuantizationMix> find_mix(std::string_view name);
Result<WeightType> find_weight_type(std::string_view name);

// In the order of their size.
std::vector<std::string> mix_names();
std::vector<std::string> weight_type_names();

}  // namespace gogrid

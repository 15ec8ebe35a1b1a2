// FP8 weights with their scales, written from the published formats: it shares no code with the
// product's reader.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/safetensors_builder.h"

namespace gogrid::testing {

enum class ScaleShape : std::uint8_t { kNumber, kOne, kRows, kRowsOfOne, kBlocks };

struct ScaleOptions {
  ScaleShape shape = ScaleShape::kNumber;
  std::string part = "weight_scale";  // or weight_scale_inv
  std::string type = "F32";           // or BF16, F16
  std::uint32_t block_rows = 128;     // of kBlocks
  std::uint32_t block_columns = 128;
  float size = 1e-3F;  // scales are half of it up to twice
  std::uint64_t seed = 1;
};

// A matrix as values of E4M3 with scales, all of them numbers.
struct ScaledExample {
  std::uint32_t rows = 0;
  std::uint32_t columns = 0;
  ScaleOptions options;
  std::vector<std::uint8_t> codes;         // [rows, columns]
  std::vector<float> scales;               // of the shape below
  std::vector<std::uint64_t> scale_shape;  // as it is stored

  // Scale times value, [rows, columns].
  std::vector<float> weights() const;
};

ScaledExample scaled_example(std::uint32_t rows, std::uint32_t columns,
                             const ScaleOptions& options);

// Adds NAME.weight and its scales.
void add_scaled(SafetensorsBuilder& builder, std::string_view name, const ScaledExample& example);

// Two folders in the Hugging Face layout of the same tiny random Llama: in `scaled` its layers'
// matrices are FP8, in `plain` they are those weights as 32-bit floats. The tokenizer is that of
// fixtures/llama.
struct ScaledModel {
  std::string quantization;  // what config.json says of it, an object
  ScaleOptions scales = {};
  std::set<std::string> plain = {};  // "self_attn.o_proj": BF16 in both
  bool plain_has_scales = false;     // which it must not
  bool activation_scales = false;
  bool has_no_number = false;  // a weight of each matrix
};
void write_scaled_model(const std::filesystem::path& fixtures, const std::filesystem::path& scaled,
                        const std::filesystem::path& plain, const ScaledModel& model);

}  // namespace gogrid::testing

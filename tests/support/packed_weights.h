// Weights as GPTQ and AWQ pack them, written from the published formats bit by bit: it shares no
// code with the product's reader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/safetensors_builder.h"

namespace gogrid::testing {

// Codes of a matrix, before they are packed.
struct PackedExample {
  std::string method = "gptq";  // or "awq"
  std::uint32_t bits = 4;
  std::uint32_t inputs = 0;
  std::uint32_t outputs = 0;
  std::vector<std::uint32_t> group_of;             // of each input
  std::vector<std::vector<std::uint32_t>> codes;   // [output][input]
  std::vector<std::vector<std::uint32_t>> zeros;   // [group][output]
  std::vector<std::vector<std::uint16_t>> scales;  // [group][output], halves
  bool zeros_less_one = true;                      // GPTQ's format "gptq"

  std::uint32_t groups() const { return static_cast<std::uint32_t>(scales.size()); }
  // scale * (code - zero), [output][input], as 32-bit floats.
  std::vector<float> weights() const;
};

struct ExampleOptions {
  std::string method = "gptq";
  std::uint32_t bits = 4;
  std::uint32_t group_size = 32;  // 0: a group a row
  bool symmetric = false;
  bool act_order = false;
  bool zeros_less_one = true;
  std::uint64_t seed = 1;
};

// Random weights, normally distributed, rounded group by group to the nearest code.
PackedExample packed_example(std::uint32_t outputs, std::uint32_t inputs,
                             const ExampleOptions& options);

std::vector<std::uint32_t> packed_codes(const PackedExample& example);  // qweight
std::vector<std::uint32_t> packed_zeros(const PackedExample& example);  // qzeros
std::vector<std::uint64_t> codes_shape(const PackedExample& example);
std::vector<std::uint64_t> zeros_shape(const PackedExample& example);

// Adds NAME.qweight, .qzeros, .scales and, of GPTQ, .g_idx.
void add_packed(SafetensorsBuilder& builder, std::string_view name, const PackedExample& example);

// Two folders in the Hugging Face layout of the same tiny random model: in `packed` its layers'
// matrices are packed, in `plain` they are those weights as 32-bit floats. The tokenizer is that of
// fixtures/ARCHITECTURE.
struct PackedModel {
  std::string architecture = "llama";  // or qwen2
  ExampleOptions packing = {};
  std::uint32_t hidden = 256;  // heads of 64, half as many of keys and values
  std::uint32_t feed_forward = 512;
  std::uint32_t layers = 2;
  bool made_up_biases = false;  // zeros, as the tools add them
};
void write_packed_model(const std::filesystem::path& fixtures, const std::filesystem::path& packed,
                        const std::filesystem::path& plain, const PackedModel& model);

// What config.json says of the packing.
std::string quantization_config(const ExampleOptions& options);

}  // namespace gogrid::testing

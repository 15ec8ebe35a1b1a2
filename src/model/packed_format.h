// How GPTQ and AWQ pack the weights of a folder in the Hugging Face layout: what the folder says of
// it, read and checked. Nothing is read of the weights themselves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/hf_config.h"

namespace gogrid {

enum class PackingMethod : std::uint8_t { kGptq, kAwq };

// What is stored of a group's zero, the code that stands for a weight of 0.
enum class StoredZeros : std::uint8_t {
  kPlain,    // itself: AWQ, and GPTQ's format "gptq_v2"
  kLessOne,  // one less, subtracted from all zeros of a unit of packing as one number: "gptq"
  // As GPTQModel (and AutoGPTQ from 0.8 on) make "gptq" of 3 bits: the first and third of three
  // words lack what the third and first ought to. It reads what it writes, and nobody else does.
  kLessOneSwapped,
};

struct PackedFormat {
  PackingMethod method = PackingMethod::kGptq;
  std::uint32_t bits = 4;        // of a code: 2, 3, 4 or 8; AWQ: 4
  std::uint32_t group_size = 0;  // inputs that share a scale and a zero; 0: all of them
  bool symmetric = false;        // every zero is the middle code, whatever is stored
  bool act_order = false;        // which group an input is of, its g_idx says
  StoredZeros zeros = StoredZeros::kPlain;
  std::string stem;  // of the weights' files, where it is not "model"; else empty

  std::uint32_t highest_code() const { return (1U << bits) - 1; }
};

// "gptq 4 bit, groups of 128, act-order"; "awq 4 bit, a group a row".
std::string to_string(const PackedFormat& format);

// Of quantization_config in `config` (config.json), else of quantize_config.json, where AutoGPTQ,
// else of quant_config.json, where AutoAWQ used to write it. Empty when the folder has none of
// them.
//   kUnsupported      another method, by its name, or a variant that is not read, by its field
//   kCorrupt          a field that is absent, or not what it has to be
Result<std::optional<PackedFormat>> read_packed_format(const std::filesystem::path& folder,
                                                       const HfConfig& config);

// The same of such an object. `otherwise` is the method when it names none.
Result<PackedFormat> packed_format_of(const HfConfig& fields, std::string_view otherwise);

}  // namespace gogrid

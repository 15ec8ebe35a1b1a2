// How the FP8 weights of a folder in the Hugging Face layout are scaled: what its config.json says
// of it, read and checked. Nothing is read of the weights themselves.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/hf_config.h"

namespace gogrid {

struct BlockSize {
  std::uint32_t rows = 1;
  std::uint32_t columns = 1;

  bool operator==(const BlockSize&) const = default;
};

struct ScaledFormat {
  std::string method = "fp8";      // or "compressed-tensors"
  std::optional<BlockSize> block;  // of weights that share a scale; none: a tensor's, or a row's
  // Modules whose weights are not scaled, by the whole of their names or whole parts of them at
  // either end. Patterns ("re:...") are among them, and match nothing: what has no scales and is
  // not FP8 is plain without them.
  std::set<std::string, std::less<>> plain;

  // Of "model.layers.0.mlp.down_proj".
  bool is_plain(std::string_view module) const;
};

// "fp8, blocks of 128 x 128"; "compressed-tensors fp8, a scale a tensor or row".
std::string to_string(const ScaledFormat& format);

// Of quantization_config in `config` (config.json), which older tools of compressed-tensors call
// compression_config. Empty where there is none, or another method is named there.
//   kUnsupported      a variant that is not read, by its field
//   kCorrupt          a field that is absent, or not what it has to be
Result<std::optional<ScaledFormat>> read_scaled_format(const HfConfig& config);

// The same of such an object, which names the method.
Result<std::optional<ScaledFormat>> scaled_format_of(const HfConfig& fields);

}  // namespace gogrid

// The shapes that a configuration makes of a model's weights.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "model/hf_architectures.h"
#include "model/hf_config.h"

namespace gogrid {

// Immutable; thread-safe. `architecture` must outlive it.
class HfShapes {
 public:
  // What is wrong with the configuration is config.status()'s to say.
  HfShapes(const HfArchitecture& architecture, const HfConfig& config);

  // kCorrupt unless `shape`, rows first as safetensors has it, is what the configuration says of a
  // tensor in this place; what it does not say may be anything but 0. `name` begins the error.
  Status check(std::string_view name, std::span<const std::uint64_t> shape,
               const TensorPlace& place) const;

  // Hidden size and its like; 0: not said.
  using Extents = std::array<std::uint64_t, 5>;

 private:
  const HfArchitecture& architecture_;
  const Extents extents_;
};

}  // namespace gogrid

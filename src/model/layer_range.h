#pragma once

#include <cstdint>
#include <string>

namespace gogrid {

// Layers [first, last) of a model.
struct LayerRange {
  std::uint32_t first = 0;
  std::uint32_t last = 0;  // exclusive
  std::uint32_t size() const { return last - first; }
  bool operator==(const LayerRange&) const = default;
};

inline std::string to_string(LayerRange range) {
  return std::to_string(range.first) + "-" + std::to_string(range.last);
}

}  // namespace gogrid

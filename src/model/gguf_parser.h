// The checks behind GgufFile: bytes in, a checked table of contents out. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/gguf_file.h"

namespace gogrid {

struct GgufContents {
  std::uint32_t version = 0;
  Bytes alignment = 32;
  Bytes data_offset = 0;
  std::vector<std::pair<std::string_view, GgufValue>> metadata;
  std::vector<GgufTensor> tensors;
  // Positions in the vectors above, sorted by name: look-ups without a hash that a file could aim
  // at.
  std::vector<std::uint32_t> metadata_by_name;
  std::vector<std::uint32_t> tensors_by_name;
};

// `name` begins the error texts. Views in the result point into `bytes`. Linear in the size of the
// header but for two sorts.
Result<GgufContents> parse_gguf(std::span<const std::byte> bytes, std::string_view name,
                                const GgufLimits& limits);

// Size of one element as stored; 0 for strings and arrays.
std::size_t stored_size(GgufType type);

}  // namespace gogrid

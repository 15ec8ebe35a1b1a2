// The checks behind SafetensorsFile: bytes in, a checked table of contents out. Private to the
// reader.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/safetensors_file.h"

namespace gogrid {

struct SafetensorsContents {
  std::vector<SafetensorsTensor> tensors;  // sorted by name
  std::vector<std::pair<std::string, std::string>> metadata;
};

// `bytes` are the whole file; `name` begins the error texts.
Result<SafetensorsContents> parse_safetensors(std::span<const std::byte> bytes,
                                              std::string_view name,
                                              const SafetensorsLimits& limits);

}  // namespace gogrid

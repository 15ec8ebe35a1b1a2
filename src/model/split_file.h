// Models that were split into several files ("name-00001-of-00003.gguf", llama-gguf-split).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/gguf_file.h"

namespace gogrid {

// Which part of how many; {1, 1} for a whole model.
struct FilePart {
  std::uint64_t number = 1;  // from 1
  std::uint64_t count = 1;
};
FilePart part_of(const GgufFile& file);

// kUnsupported for one part of several, with the command that makes one file of them. `who` asks.
Status check_is_whole(const GgufFile& file, std::string_view who);

}  // namespace gogrid

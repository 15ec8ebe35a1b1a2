#include "model/split_file.h"

#include <format>
#include <string>

namespace gogrid {

FilePart part_of(const GgufFile& file) {
  FilePart part;
  part.count = file.unsigned_of("split.count").value_or(1);
  // The key counts from 0; at most u16 in files of the tool, anything in others.
  if (part.count > 1)
    part.number = checked_add(file.unsigned_of("split.no").value_or(0), 1).value_or(UINT64_MAX);
  return part;
}

Status check_is_whole(const GgufFile& file, std::string_view who) {
  const FilePart part = part_of(file);
  if (part.count <= 1) return {};
  return fail(ErrorCode::kUnsupported,
              std::format("[{}] {}: expected a whole model: this file is part {} of {}; merge them "
                          "first: llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf (llama.cpp)",
                          who, file.path().string(), part.number, part.count));
}

}  // namespace gogrid

// Several files that are one model, read as if they were one: behind GgufFile::open().
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "model/gguf_parser.h"

namespace gogrid {

struct GgufPart {
  std::filesystem::path path;
  MappedFile mapping;
  GgufContents contents;  // views into the mapping
};

// The parts beside `first`, which says that it is one of several, and itself. All are checked:
// they say of themselves which part of how many they are, and how many tensors there are in all.
//   kInvalidArgument  `first` is not the first, or not named as it
//   kNotFound         a part is missing, by its path
//   kCorrupt          parts that do not belong together
Result<std::vector<GgufPart>> open_parts(GgufPart first, const GgufLimits& limits);

// One table of contents: the keys of the first part but those of the split, the tensors of all,
// placed as if the parts lay one behind the other, each a multiple of the alignment apart. Views
// are into the parts. kCorrupt where a name is in two parts.
struct JoinedParts {
  GgufContents contents;
  std::vector<Bytes> starts;  // where each part begins
  Bytes size = 0;
};
Result<JoinedParts> join_parts(std::span<const GgufPart> parts, const GgufLimits& limits);

// A key's unsigned number; empty: no such key, or another type.
std::optional<std::uint64_t> unsigned_in(const GgufContents& contents, std::string_view key);

}  // namespace gogrid

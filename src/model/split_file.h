// Models that were split into several files ("name-00001-of-00003.gguf", llama-gguf-split).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/gguf_file.h"

namespace gogrid {

// Each part takes a descriptor, and one more while it is fetched; models of a terabyte have about
// fifty.
inline constexpr std::uint64_t kMostParts = 256;

// Which part of how many; {1, 1} for a whole model.
struct FilePart {
  std::uint64_t number = 1;  // from 1
  std::uint64_t count = 1;

  bool operator==(const FilePart&) const = default;
};
FilePart part_of(const GgufFile& file);

// What a part's name says: libllama, too, finds the other parts by it.
struct PartName {
  std::string stem;  // "name" of "name-00001-of-00003"
  FilePart part;
};
// `stem` is a file's name without its ending. Empty for the name of a whole model, and where the
// numbers make no sense ("-00004-of-00003").
std::optional<PartName> parse_part_name(std::string_view stem);

// Where part `number` (from 1) of the model lies whose first part is `first`: beside it.
// Of a file that is not named as a part: empty.
std::filesystem::path path_of_part(const std::filesystem::path& first, std::uint64_t number);

// kUnsupported for one part of several, with the command that makes one file of them. `who` asks.
Status check_is_whole(const GgufFile& file, std::string_view who);

}  // namespace gogrid

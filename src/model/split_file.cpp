#include "model/split_file.h"

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::size_t kDigits = 5;
constexpr std::string_view kOf = "-of-";
constexpr std::size_t kTail = 1 + kDigits + kOf.size() + kDigits;  // "-00001-of-00003"

}  // namespace

FilePart part_of(const GgufFile& file) {
  FilePart part;
  part.count = file.unsigned_of("split.count").value_or(1);
  // The key counts from 0; at most u16 in files of the tool, anything in others.
  if (part.count > 1)
    part.number = checked_add(file.unsigned_of("split.no").value_or(0), 1).value_or(UINT64_MAX);
  return part;
}

std::optional<PartName> parse_part_name(std::string_view stem) {
  if (stem.size() <= kTail) return std::nullopt;
  const std::string_view tail = stem.substr(stem.size() - kTail);
  if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf) return std::nullopt;
  const auto number = parse_number(tail.substr(1, kDigits));
  const auto count = parse_number(tail.substr(kTail - kDigits));
  if (!number || !count || *number == 0 || *number > *count) return std::nullopt;
  return PartName{std::string(stem.substr(0, stem.size() - kTail)), {*number, *count}};
}

std::filesystem::path path_of_part(const std::filesystem::path& first, std::uint64_t number) {
  const auto name = parse_part_name(first.stem().native());
  if (!name) return {};
  return first.parent_path() / format_text("{}-{:05}-of-{:05}{}", name->stem, number,
                                           name->part.count, first.extension().string());
}

Status check_is_whole(const GgufFile& file, std::string_view who) {
  const FilePart part = part_of(file);
  if (part.count <= 1) return {};
  return fail(ErrorCode::kUnsupported,
              format_text("[{}] {}: expected a whole model: this file is part {} of {}; merge them "
                          "first: llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf (llama.cpp)",
                          who, file.path().string(), part.number, part.count));
}

}  // namespace gogrid

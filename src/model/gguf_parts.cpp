#include "model/gguf_parts.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>

#include "base/format.h"
#include "model/name_index.h"
#include "model/split_file.h"

namespace gogrid {
namespace {

constexpr std::string_view kSplitKeys = "split.";

std::unexpected<Error> corrupt(const GgufPart& part, const std::string& what) {
  return fail(ErrorCode::kCorrupt, format_text("[gguf] {}: {}", part.path.string(), what));
}

std::string shown(const std::optional<std::uint64_t>& number) {
  return number ? std::to_string(*number) : "absent";
}

// What the file says of itself, and its name of it.
Status check_first(const GgufPart& first, std::uint64_t count) {
  const auto number = unsigned_in(first.contents, "split.no");
  const auto refuse = [&](const std::string& what) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[gguf] {}: {}", first.path.string(), what), "MODEL");
  };
  if (count > kMostParts) {
    return fail(ErrorCode::kUnsupported,
                format_text("[gguf] {}: expected a model in at most {} parts: it is of {}",
                            first.path.string(), kMostParts, count));
  }
  if (number.value_or(0) != 0) {
    return refuse(
        format_text("expected the first part of a model, NAME-00001-of-{:05}.gguf: this "
                    "is part {} of {}",
                    count, checked_add(*number, 1).value_or(UINT64_MAX), count));
  }
  const auto name = parse_part_name(first.path.stem().native());
  if (name && name->part.number == 1 && name->part.count == count) return {};
  return refuse(
      format_text("expected a name that ends in -00001-of-{:05}.gguf, by which the other "
                  "parts are found: it is the first part of {}",
                  count, count));
}

// Of the first part; of the others, that they are what their place says.
Status check_keys(const GgufPart& part, const GgufPart& first, std::uint64_t number,
                  std::uint64_t count) {
  const auto expect = [&](std::string_view key, std::uint64_t wanted) -> Status {
    const auto came = unsigned_in(part.contents, key);
    if (came == wanted) return {};
    return corrupt(part, format_text("expected {} {} (part {} of {}): {}", key, wanted, number,
                                     count, shown(came)));
  };
  GOGRID_RETURN_IF_ERROR(expect("split.no", number - 1));
  GOGRID_RETURN_IF_ERROR(expect("split.count", count));
  const auto tensors = unsigned_in(first.contents, "split.tensors.count");
  if (!tensors) return corrupt(first, "expected the key split.tensors.count: absent");
  GOGRID_RETURN_IF_ERROR(expect("split.tensors.count", *tensors));
  if (part.contents.alignment == first.contents.alignment) return {};
  return corrupt(part, format_text("expected the alignment of the first part, {}: {}",
                                   first.contents.alignment, part.contents.alignment));
}

Result<GgufPart> open_part(const std::filesystem::path& path, std::uint64_t number,
                           std::uint64_t count, const GgufLimits& limits) {
  auto mapping = MappedFile::open(path);
  if (!mapping && mapping.error().code == ErrorCode::kNotFound) {
    return fail(ErrorCode::kNotFound,
                format_text("[gguf] part {} of {} is missing: {}", number, count, path.string()),
                "MODEL");
  }
  if (!mapping) return std::unexpected(mapping.error());
  GgufPart part{path, *std::move(mapping), {}};
  GOGRID_ASSIGN_OR_RETURN(part.contents, parse_gguf(part.mapping.bytes(), path.native(), limits));
  return part;
}

}  // namespace

std::optional<std::uint64_t> unsigned_in(const GgufContents& contents, std::string_view key) {
  const auto found =
      std::ranges::find(contents.metadata, key, [](const auto& e) { return e.first; });
  if (found == contents.metadata.end()) return std::nullopt;
  if (const auto* number = std::get_if<std::uint64_t>(&found->second.value)) return *number;
  const auto* number = std::get_if<std::int64_t>(&found->second.value);
  if (number == nullptr || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

Result<std::vector<GgufPart>> open_parts(GgufPart first, const GgufLimits& limits) {
  const std::uint64_t count = unsigned_in(first.contents, "split.count").value_or(1);
  GOGRID_RETURN_IF_ERROR(check_first(first, count));
  const std::filesystem::path path = first.path;
  std::vector<GgufPart> parts;
  parts.reserve(count);  // at most kMostParts
  parts.push_back(std::move(first));
  for (std::uint64_t number = 2; number <= count; ++number) {
    GOGRID_ASSIGN_OR_RETURN(auto part,
                            open_part(path_of_part(path, number), number, count, limits));
    parts.push_back(std::move(part));
  }
  for (std::uint64_t number = 1; number <= count; ++number)
    GOGRID_RETURN_IF_ERROR(check_keys(parts[number - 1], parts.front(), number, count));
  return parts;
}

Result<JoinedParts> join_parts(std::span<const GgufPart> parts, const GgufLimits& limits) {
  const GgufPart& first = parts.front();
  JoinedParts joined;
  GgufContents& out = joined.contents;
  out.version = first.contents.version;
  out.alignment = first.contents.alignment;
  std::ranges::copy_if(first.contents.metadata, std::back_inserter(out.metadata),
                       [](const auto& entry) { return !entry.first.starts_with(kSplitKeys); });
  for (const GgufPart& part : parts) {
    joined.starts.push_back(joined.size);
    for (GgufTensor tensor : part.contents.tensors) {
      // No sum wraps: files are far below 2^63 bytes, and there are few.
      tensor.offset += joined.size;
      out.tensors.push_back(tensor);
    }
    // At least what the header of all takes.
    out.data_offset += part.contents.data_offset;
    joined.size += *align_up(part.mapping.bytes().size(), out.alignment);
    if (out.tensors.size() > limits.max_tensors || out.data_offset > limits.max_header) {
      return fail(
          ErrorCode::kTooLarge,
          format_text("[gguf] {}: expected at most {} tensors and {} of headers in all "
                      "parts: more",
                      part.path.string(), limits.max_tensors, format_bytes(limits.max_header)));
    }
  }
  const std::uint64_t expected = unsigned_in(first.contents, "split.tensors.count").value_or(0);
  if (expected != out.tensors.size()) {
    return corrupt(first, format_text("expected {} tensors in all parts (split.tensors.count): {}",
                                      expected, out.tensors.size()));
  }
  index_by_name(
      out.metadata.size(), [&](std::uint32_t i) { return out.metadata[i].first; },
      out.metadata_by_name);
  const auto twice = index_by_name(
      out.tensors.size(), [&](std::uint32_t i) { return out.tensors[i].name; },
      out.tensors_by_name);
  if (twice) {
    return corrupt(first, format_text("expected each tensor in one part: {} is in two", *twice));
  }
  return joined;
}

}  // namespace gogrid

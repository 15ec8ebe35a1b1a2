#include "model/gguf_file.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "model/gguf_parser.h"
#include "model/gguf_parts.h"

namespace gogrid {
namespace {

template <class T, class Wide>
std::vector<Wide> widen(const GgufArray& array) {
  std::vector<Wide> values(array.count);
  for (std::size_t i = 0; i < values.size(); ++i) {
    T stored;
    std::memcpy(&stored, array.bytes.data() + i * sizeof(T), sizeof(T));
    if constexpr (std::is_same_v<T, std::uint64_t>) {
      constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
      stored = std::min(stored, kMost);
    }
    values[i] = static_cast<Wide>(stored);
  }
  return values;
}

}  // namespace

std::vector<std::int64_t> GgufArray::integers() const {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kBool:
      return widen<std::uint8_t, std::int64_t>(*this);
    case GgufType::kI8:
      return widen<std::int8_t, std::int64_t>(*this);
    case GgufType::kU16:
      return widen<std::uint16_t, std::int64_t>(*this);
    case GgufType::kI16:
      return widen<std::int16_t, std::int64_t>(*this);
    case GgufType::kU32:
      return widen<std::uint32_t, std::int64_t>(*this);
    case GgufType::kI32:
      return widen<std::int32_t, std::int64_t>(*this);
    case GgufType::kU64:
      return widen<std::uint64_t, std::int64_t>(*this);
    case GgufType::kI64:
      return widen<std::int64_t, std::int64_t>(*this);
    default:
      return {};
  }
}

std::vector<double> GgufArray::floats() const {
  if (type == GgufType::kF32) return widen<float, double>(*this);
  if (type == GgufType::kF64) return widen<double, double>(*this);
  return {};
}

std::vector<std::string_view> GgufArray::strings() const {
  if (type != GgufType::kString) return {};
  std::vector<std::string_view> values;
  values.reserve(count);
  const std::byte* at = bytes.data();
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t length = 0;
    std::memcpy(&length, at, sizeof length);
    at += sizeof length;
    values.emplace_back(reinterpret_cast<const char*>(at), length);
    at += length;
  }
  return values;
}

struct GgufFile::State {
  std::filesystem::path path;
  std::vector<GgufPart> parts;       // none when parsed from memory
  std::span<const std::byte> bytes;  // of the only part
  std::vector<Bytes> starts;         // of each part, where there are several
  Bytes size = 0;
  GgufContents contents;

  bool is_split() const { return starts.size() > 1; }
};

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

Result<GgufFile> GgufFile::open(const std::filesystem::path& path, const GgufLimits& limits) {
  GOGRID_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  auto state = std::make_unique<State>();
  state->path = path;
  GgufPart only{path, std::move(mapping), {}};
  GOGRID_ASSIGN_OR_RETURN(only.contents, parse_gguf(only.mapping.bytes(), path.native(), limits));
  if (unsigned_in(only.contents, "split.count").value_or(1) > 1) {
    GOGRID_ASSIGN_OR_RETURN(state->parts, open_parts(std::move(only), limits));
    GOGRID_ASSIGN_OR_RETURN(JoinedParts joined, join_parts(state->parts, limits));
    state->contents = std::move(joined.contents);
    state->starts = std::move(joined.starts);
    state->size = joined.size;
    return GgufFile(std::move(state));
  }
  state->bytes = only.mapping.bytes();
  state->size = state->bytes.size();
  state->contents = std::move(only.contents);
  state->parts.push_back(std::move(only));
  return GgufFile(std::move(state));
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string_view name,
                                 const GgufLimits& limits) {
  auto state = std::make_unique<State>();
  state->path = name;
  state->bytes = bytes;
  state->size = bytes.size();
  GOGRID_ASSIGN_OR_RETURN(state->contents, parse_gguf(bytes, name, limits));
  return GgufFile(std::move(state));
}

const std::filesystem::path& GgufFile::path() const { return state_->path; }
int GgufFile::descriptor() const {
  return state_->parts.size() == 1 ? state_->parts.front().mapping.descriptor() : -1;
}
std::vector<std::filesystem::path> GgufFile::part_paths() const {
  std::vector<std::filesystem::path> paths;
  for (const GgufPart& part : state_->parts) paths.push_back(part.path);
  return paths;
}
Bytes GgufFile::file_size() const { return state_->size; }
std::uint32_t GgufFile::version() const { return state_->contents.version; }
Bytes GgufFile::alignment() const { return state_->contents.alignment; }
Bytes GgufFile::data_offset() const { return state_->contents.data_offset; }

std::span<const std::pair<std::string_view, GgufValue>> GgufFile::metadata() const {
  return state_->contents.metadata;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const GgufContents& contents = state_->contents;
  const auto name_of = [&](std::uint32_t i) { return contents.metadata[i].first; };
  const auto found = std::ranges::lower_bound(contents.metadata_by_name, key, {}, name_of);
  if (found == contents.metadata_by_name.end() || name_of(*found) != key) return nullptr;
  return &contents.metadata[*found].second;
}

std::optional<std::uint64_t> GgufFile::unsigned_of(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<std::uint64_t>(&value->value)) return *number;
  const auto* number = std::get_if<std::int64_t>(&value->value);
  if (number == nullptr || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

std::optional<double> GgufFile::float_of(std::string_view key) const {
  const GgufValue* value = find(key);
  const auto* number = value == nullptr ? nullptr : std::get_if<double>(&value->value);
  return number == nullptr ? std::nullopt : std::optional(*number);
}

std::optional<bool> GgufFile::bool_of(std::string_view key) const {
  const GgufValue* value = find(key);
  const auto* flag = value == nullptr ? nullptr : std::get_if<bool>(&value->value);
  return flag == nullptr ? std::nullopt : std::optional(*flag);
}

std::optional<std::string_view> GgufFile::string_of(std::string_view key) const {
  const GgufValue* value = find(key);
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string_view>(&value->value);
  return text == nullptr ? std::nullopt : std::optional(*text);
}

const GgufArray* GgufFile::array_of(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? nullptr : std::get_if<GgufArray>(&value->value);
}

std::span<const GgufTensor> GgufFile::tensors() const { return state_->contents.tensors; }

const GgufTensor* GgufFile::tensor(std::string_view name) const {
  const GgufContents& contents = state_->contents;
  const auto name_of = [&](std::uint32_t i) { return contents.tensors[i].name; };
  const auto found = std::ranges::lower_bound(contents.tensors_by_name, name, {}, name_of);
  if (found == contents.tensors_by_name.end() || name_of(*found) != name) return nullptr;
  return &contents.tensors[*found];
}

std::span<const std::byte> GgufFile::data(const GgufTensor& tensor) const {
  if (!state_->is_split()) return state_->bytes.subspan(tensor.offset, tensor.size);
  // The last part that begins at the tensor or before it.
  const auto behind = std::ranges::upper_bound(state_->starts, tensor.offset);
  const auto part = static_cast<std::size_t>(behind - state_->starts.begin()) - 1;
  return state_->parts[part].mapping.bytes().subspan(tensor.offset - state_->starts[part],
                                                     tensor.size);
}

}  // namespace gogrid

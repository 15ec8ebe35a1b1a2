#include "model/gguf_parser.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "base/format.h"
#include "model/name_index.h"
#include "model/tensor_types.h"

namespace gogrid {
namespace {

static_assert(std::endian::native == std::endian::little, "values are read as they are stored");

constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr Bytes kMinAlignment = 8;  // the format asks for a multiple of 8
constexpr Bytes kMaxAlignment = 64 * kKiB;
// The least that one entry takes: lengths, type tags, a name of one byte, a value of one.
constexpr Bytes kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr Bytes kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr std::uint32_t kTypeCount = static_cast<std::uint32_t>(GgufType::kF64) + 1;

constexpr std::array<std::size_t, kTypeCount> kStoredSizes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
constexpr std::array<std::string_view, kTypeCount> kTypeNames{
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

// A name out of the file, safe to print.
std::string quoted(std::string_view name) {
  constexpr std::size_t kShown = 80;
  std::string text = "'";
  for (const char c : name.substr(0, kShown)) text += c >= 0x20 && c < 0x7F ? c : '?';
  if (name.size() > kShown) text += "...";
  return text + "'";
}

// Names reach logs, and ggml as C strings: a control character forges a line, a zero hides the rest
// of the name from the check for duplicates.
bool is_printable(std::string_view name) {
  return std::ranges::all_of(
      name, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; });
}

// What is being read. Spelled out only when it is at fault: most files have thousands of entries
// and no fault.
class Where {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a fixed place is its own description
  Where(const char* fixed) : what_(fixed) {}
  static Where key(std::string_view name) { return {"key", name, 0, 0}; }
  static Where tensor(std::string_view name) { return {"tensor", name, 0, 0}; }
  static Where name_of_key(std::uint64_t position, std::uint64_t count) {
    return {"the name of key", {}, position, count};
  }
  static Where name_of_tensor(std::uint64_t position, std::uint64_t count) {
    return {"the name of tensor", {}, position, count};
  }
  std::string text() const {
    if (count_ > 0) return format_text("{} {} of {}", what_, position_ + 1, count_);
    return name_.data() == nullptr ? std::string(what_)
                                   : format_text("{} {}", what_, quoted(name_));
  }

 private:
  Where(std::string_view what, std::string_view name, std::uint64_t position, std::uint64_t count)
      : what_(what), name_(name), position_(position), count_(count) {}
  std::string_view what_;
  std::string_view name_ = {};
  std::uint64_t position_ = 0;
  std::uint64_t count_ = 0;
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::string_view name, const GgufLimits& limits)
      : bytes_(bytes),
        header_(bytes.first(std::min<Bytes>(bytes.size(), limits.max_header))),
        name_(name),
        limits_(limits) {}

  Result<GgufContents> parse();

 private:
  std::unexpected<Error> corrupt(const std::string& what) const {
    return fail(ErrorCode::kCorrupt, format_text("[gguf] {}: {}", name_, what));
  }
  std::unexpected<Error> unsupported(const std::string& what) const {
    return fail(ErrorCode::kUnsupported, format_text("[gguf] {}: {}", name_, what));
  }
  std::unexpected<Error> ends(const Where& inside) const;

  Bytes left() const { return header_.size() - at_; }
  template <class T>
  Result<T> number(const Where& inside);
  Result<std::span<const std::byte>> take(Bytes length, const Where& inside);
  Result<std::string_view> text(std::uint64_t limit, const Where& inside);

  Status read_start();
  Status read_keys();
  Result<GgufValue> read_value(GgufType type, const Where& where);
  Result<GgufValue> read_scalar(GgufType type, const Where& where);
  Result<GgufArray> read_array(const Where& where);
  Status skip_strings(std::uint64_t count, const Where& where);
  Result<GgufType> read_type(const Where& where);
  Status read_alignment();
  Status read_tensors();
  Result<GgufTensor> read_tensor(std::uint64_t position);
  Status read_shape(GgufTensor& tensor, const Where& where);
  Status size_tensor(GgufTensor& tensor, const Where& where);
  Status place_tensors();
  Status check_overlaps();

  const std::span<const std::byte> bytes_;
  const std::span<const std::byte> header_;
  const std::string_view name_;
  const GgufLimits& limits_;
  std::size_t at_ = 0;
  std::uint64_t n_keys_ = 0;
  std::uint64_t n_tensors_ = 0;
  std::uint64_t array_elements_ = 0;
  GgufContents out_;
};

std::unexpected<Error> Parser::ends(const Where& inside) const {
  if (header_.size() < bytes_.size()) {
    return corrupt(format_text("expected a header of at most {}: it goes on in {}",
                               format_bytes(limits_.max_header), inside.text()));
  }
  return corrupt(format_text("the file ends inside {}, at byte {}", inside.text(), bytes_.size()));
}

template <class T>
Result<T> Parser::number(const Where& inside) {
  if (left() < sizeof(T)) return ends(inside);
  T value;
  std::memcpy(&value, header_.data() + at_, sizeof(T));
  at_ += sizeof(T);
  return value;
}

Result<std::span<const std::byte>> Parser::take(Bytes length, const Where& inside) {
  if (left() < length) return ends(inside);
  const auto part = header_.subspan(at_, length);
  at_ += length;
  return part;
}

Result<std::string_view> Parser::text(std::uint64_t limit, const Where& inside) {
  GOGRID_ASSIGN_OR_RETURN(const auto length, number<std::uint64_t>(inside));
  if (length > limit) {
    return corrupt(
        format_text("expected at most {} bytes in {}: {}", limit, inside.text(), length));
  }
  GOGRID_ASSIGN_OR_RETURN(const auto part, take(length, inside));
  return std::string_view(reinterpret_cast<const char*>(part.data()), part.size());
}

Result<GgufContents> Parser::parse() {
  GOGRID_RETURN_IF_ERROR(read_start());
  GOGRID_RETURN_IF_ERROR(read_keys());
  GOGRID_RETURN_IF_ERROR(read_alignment());
  GOGRID_RETURN_IF_ERROR(read_tensors());
  GOGRID_RETURN_IF_ERROR(place_tensors());
  return std::move(out_);
}

Status Parser::read_start() {
  if (bytes_.size() < kMagic.size() ||
      std::memcmp(bytes_.data(), kMagic.data(), kMagic.size()) != 0) {
    return corrupt("expected a GGUF file: it does not begin with 'GGUF'");
  }
  at_ = kMagic.size();
  GOGRID_ASSIGN_OR_RETURN(out_.version, number<std::uint32_t>("the version"));
  if (out_.version != 0 && (out_.version & 0xFFFFU) == 0) {
    return unsupported("expected little-endian data: this file is big-endian");
  }
  if (out_.version != 2 && out_.version != 3) {
    return unsupported(format_text("expected GGUF version 2 or 3: {}", out_.version));
  }
  GOGRID_ASSIGN_OR_RETURN(n_tensors_, number<std::uint64_t>("the number of tensors"));
  GOGRID_ASSIGN_OR_RETURN(n_keys_, number<std::uint64_t>("the number of keys"));
  // Before anything is reserved: counts must be plausible for this very file.
  const Bytes most_tensors = std::min(limits_.max_tensors, left() / kMinTensorBytes);
  if (n_tensors_ > most_tensors) {
    return corrupt(format_text("expected at most {} tensors in {} of header: {}", most_tensors,
                               format_bytes(left()), n_tensors_));
  }
  const Bytes most_keys = std::min(limits_.max_keys, left() / kMinKeyBytes);
  if (n_keys_ > most_keys) {
    return corrupt(format_text("expected at most {} keys in {} of header: {}", most_keys,
                               format_bytes(left()), n_keys_));
  }
  return {};
}

Result<GgufType> Parser::read_type(const Where& where) {
  GOGRID_ASSIGN_OR_RETURN(const auto type, number<std::uint32_t>(where));
  if (type >= kTypeCount) {
    return corrupt(
        format_text("{}: expected a value type below {}: {}", where.text(), kTypeCount, type));
  }
  return static_cast<GgufType>(type);
}

Status Parser::read_keys() {
  out_.metadata.reserve(n_keys_);
  for (std::uint64_t i = 0; i < n_keys_; ++i) {
    const Where inside = Where::name_of_key(i, n_keys_);
    GOGRID_ASSIGN_OR_RETURN(const std::string_view key, text(limits_.max_key_length, inside));
    const Where where = Where::key(key);
    if (key.empty()) return corrupt(inside.text() + ": expected a name: it is empty");
    if (!is_printable(key)) return corrupt(where.text() + ": expected printable characters");
    GOGRID_ASSIGN_OR_RETURN(const GgufType type, read_type(where));
    GOGRID_ASSIGN_OR_RETURN(const GgufValue value, read_value(type, where));
    out_.metadata.emplace_back(key, value);
  }
  const auto name_of = [&](std::uint32_t i) { return out_.metadata[i].first; };
  if (const auto twice = index_by_name(n_keys_, name_of, out_.metadata_by_name)) {
    return corrupt(format_text("expected each key once: {} comes twice", quoted(*twice)));
  }
  return {};
}

Result<GgufValue> Parser::read_value(GgufType type, const Where& where) {
  const std::size_t start = at_;
  GgufValue value;
  if (type == GgufType::kString) {
    GOGRID_ASSIGN_OR_RETURN(value.value, text(limits_.max_string, where));
  } else if (type == GgufType::kArray) {
    GOGRID_ASSIGN_OR_RETURN(value.value, read_array(where));
  } else {
    GOGRID_ASSIGN_OR_RETURN(value, read_scalar(type, where));
  }
  value.type = type;
  value.raw = header_.subspan(start, at_ - start);
  return value;
}

Result<GgufValue> Parser::read_scalar(GgufType type, const Where& where) {
  GgufValue value;
  const auto store = [&]<class Wide, class T>(std::type_identity<Wide>,
                                              std::type_identity<T>) -> Status {
    GOGRID_ASSIGN_OR_RETURN(const T stored, number<T>(where));
    value.value = static_cast<Wide>(stored);
    return {};
  };
  constexpr std::type_identity<std::uint64_t> kUnsigned;
  constexpr std::type_identity<std::int64_t> kSigned;
  constexpr std::type_identity<double> kReal;
  const auto read = [&]() -> Status {
    switch (type) {
      case GgufType::kU8:
        return store(kUnsigned, std::type_identity<std::uint8_t>{});
      case GgufType::kU16:
        return store(kUnsigned, std::type_identity<std::uint16_t>{});
      case GgufType::kU32:
        return store(kUnsigned, std::type_identity<std::uint32_t>{});
      case GgufType::kU64:
        return store(kUnsigned, std::type_identity<std::uint64_t>{});
      case GgufType::kI8:
        return store(kSigned, std::type_identity<std::int8_t>{});
      case GgufType::kI16:
        return store(kSigned, std::type_identity<std::int16_t>{});
      case GgufType::kI32:
        return store(kSigned, std::type_identity<std::int32_t>{});
      case GgufType::kI64:
        return store(kSigned, std::type_identity<std::int64_t>{});
      case GgufType::kF32:
        return store(kReal, std::type_identity<float>{});
      case GgufType::kF64:
        return store(kReal, std::type_identity<double>{});
      default:
        break;
    }
    GOGRID_ASSIGN_OR_RETURN(const auto flag, number<std::uint8_t>(where));
    if (flag > 1)
      return corrupt(format_text("{}: expected a bool of 0 or 1: {}", where.text(), flag));
    value.value = flag == 1;
    return {};
  };
  GOGRID_RETURN_IF_ERROR(read());
  return value;
}

Result<GgufArray> Parser::read_array(const Where& where) {
  GgufArray array;
  GOGRID_ASSIGN_OR_RETURN(array.type, read_type(where));
  if (array.type == GgufType::kArray) {
    return unsupported(where.text() + ": expected an array of plain values: an array of arrays");
  }
  GOGRID_ASSIGN_OR_RETURN(array.count, number<std::uint64_t>(where));
  if (array.count > limits_.max_array_elements - array_elements_) {
    return corrupt(format_text("{}: expected at most {} array elements in the file: {} more",
                               where.text(), limits_.max_array_elements, array.count));
  }
  array_elements_ += array.count;
  const std::size_t start = at_;
  if (array.type == GgufType::kString) {
    GOGRID_RETURN_IF_ERROR(skip_strings(array.count, where));
  } else {
    // Cannot overflow: the count is bounded above, a size is at most 8.
    GOGRID_RETURN_IF_ERROR(take(array.count * stored_size(array.type), where));
  }
  array.bytes = header_.subspan(start, at_ - start);
  const auto is_bool = [](std::byte b) { return b == std::byte{0} || b == std::byte{1}; };
  if (array.type == GgufType::kBool && !std::ranges::all_of(array.bytes, is_bool)) {
    return corrupt(where.text() + ": expected bools of 0 or 1");
  }
  return array;
}

Status Parser::skip_strings(std::uint64_t count, const Where& where) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t length = 0;
    if (left() < sizeof length) return ends(where);
    std::memcpy(&length, header_.data() + at_, sizeof length);
    at_ += sizeof length;
    if (length > limits_.max_string) {
      return corrupt(format_text("{}: expected strings of at most {} bytes: element {} has {}",
                                 where.text(), limits_.max_string, i, length));
    }
    if (left() < length) return ends(where);
    at_ += length;
  }
  return {};
}

Status Parser::read_alignment() {
  const auto key = std::ranges::find(out_.metadata, kAlignmentKey,
                                     &std::pair<std::string_view, GgufValue>::first);
  if (key == out_.metadata.end()) return {};
  const GgufValue& value = key->second;
  if (value.type != GgufType::kU32) {
    return corrupt(format_text("key '{}': expected type u32: {}", kAlignmentKey,
                               kTypeNames[static_cast<std::size_t>(value.type)]));
  }
  out_.alignment = std::get<std::uint64_t>(value.value);
  if (!std::has_single_bit(out_.alignment) || out_.alignment < kMinAlignment ||
      out_.alignment > kMaxAlignment) {
    return corrupt(format_text("key '{}': expected a power of two from {} to {}: {}", kAlignmentKey,
                               kMinAlignment, kMaxAlignment, out_.alignment));
  }
  return {};
}

Status Parser::read_tensors() {
  out_.tensors.reserve(n_tensors_);
  for (std::uint64_t i = 0; i < n_tensors_; ++i) {
    GOGRID_ASSIGN_OR_RETURN(const GgufTensor tensor, read_tensor(i));
    out_.tensors.push_back(tensor);
  }
  const auto name_of = [&](std::uint32_t i) { return out_.tensors[i].name; };
  if (const auto twice = index_by_name(n_tensors_, name_of, out_.tensors_by_name)) {
    return corrupt(format_text("expected each tensor once: {} comes twice", quoted(*twice)));
  }
  return {};
}

Result<GgufTensor> Parser::read_tensor(std::uint64_t position) {
  const Where inside = Where::name_of_tensor(position, n_tensors_);
  GgufTensor tensor;
  GOGRID_ASSIGN_OR_RETURN(tensor.name, text(kMaxTensorName, inside));
  const Where where = Where::tensor(tensor.name);
  if (tensor.name.empty()) return corrupt(inside.text() + ": expected a name: it is empty");
  if (!is_printable(tensor.name)) return corrupt(where.text() + ": expected printable characters");
  GOGRID_RETURN_IF_ERROR(read_shape(tensor, where));
  GOGRID_ASSIGN_OR_RETURN(tensor.type, number<std::uint32_t>(where));
  GOGRID_RETURN_IF_ERROR(size_tensor(tensor, where));
  GOGRID_ASSIGN_OR_RETURN(tensor.offset, number<std::uint64_t>(where));
  return tensor;
}

Status Parser::read_shape(GgufTensor& tensor, const Where& where) {
  GOGRID_ASSIGN_OR_RETURN(tensor.n_dims, number<std::uint32_t>(where));
  if (tensor.n_dims < 1 || tensor.n_dims > tensor.shape.size()) {
    return corrupt(format_text("{}: expected 1 to 4 dimensions: {}", where.text(), tensor.n_dims));
  }
  for (std::uint32_t i = 0; i < tensor.n_dims; ++i) {
    GOGRID_ASSIGN_OR_RETURN(tensor.shape[i], number<std::uint64_t>(where));
    if (tensor.shape[i] == 0) {
      return corrupt(format_text("{}: expected at least 1 in dimension {}: 0", where.text(), i));
    }
  }
  return {};
}

// Exact bytes of the tensor, from its type and shape.
Status Parser::size_tensor(GgufTensor& tensor, const Where& where) {
  const auto type = find_tensor_type(tensor.type);
  if (!type) {
    return unsupported(format_text("{}: expected a tensor type that this build knows: {}",
                                   where.text(), why_no_type(tensor.type)));
  }
  tensor.type_name = type->name;
  if (type->intermediate) {
    return unsupported(
        format_text("{}: expected a type for weights: {} is for intermediate results", where.text(),
                    tensor.type_name));
  }
  const std::uint64_t block = type->block;
  if (tensor.shape[0] % block != 0) {
    return corrupt(format_text("{}: expected rows of a multiple of {} elements for {}: {}",
                               where.text(), block, tensor.type_name, tensor.shape[0]));
  }
  std::optional<std::uint64_t> elements = 1;
  for (const std::uint64_t dimension : tensor.shape) {
    if (elements) elements = checked_mul(*elements, dimension);
  }
  const auto size = elements ? checked_mul(*elements / block, type->block_bytes) : std::nullopt;
  // ggml counts in signed 64 bits.
  if (!size || std::max(*elements, *size) > std::numeric_limits<std::int64_t>::max()) {
    return corrupt(where.text() + ": expected a size that fits into 63 bits");
  }
  tensor.size = *size;
  return {};
}

// From offsets relative to the data section to places in the file.
Status Parser::place_tensors() {
  const auto data_offset = align_up(at_, out_.alignment);
  out_.data_offset = *data_offset;  // at_ is at most max_header
  for (GgufTensor& tensor : out_.tensors) {
    const Where where = Where::tensor(tensor.name);
    if (tensor.offset % out_.alignment != 0) {
      return corrupt(format_text("{}: expected an offset that is a multiple of {}: {}",
                                 where.text(), out_.alignment, tensor.offset));
    }
    const auto start = checked_add(out_.data_offset, tensor.offset);
    const auto end = start ? checked_add(*start, tensor.size) : std::nullopt;
    if (!end || *end > bytes_.size()) {
      return corrupt(format_text("{}: expected {} bytes at data offset {}: the file has {} bytes",
                                 where.text(), tensor.size, tensor.offset, bytes_.size()));
    }
    tensor.offset = *start;
  }
  return check_overlaps();
}

Status Parser::check_overlaps() {
  std::vector<const GgufTensor*> by_offset;
  by_offset.reserve(out_.tensors.size());
  for (const GgufTensor& tensor : out_.tensors) by_offset.push_back(&tensor);
  std::ranges::sort(by_offset, {}, &GgufTensor::offset);
  const auto overlap = std::ranges::adjacent_find(
      by_offset,
      [](const GgufTensor* a, const GgufTensor* b) { return a->offset + a->size > b->offset; });
  if (overlap == by_offset.end()) return {};
  return corrupt(format_text("expected tensors apart from each other: {} and {} overlap",
                             quoted((*overlap)->name), quoted((*std::next(overlap))->name)));
}

}  // namespace

std::size_t stored_size(GgufType type) { return kStoredSizes[static_cast<std::size_t>(type)]; }

Result<GgufContents> parse_gguf(std::span<const std::byte> bytes, std::string_view name,
                                const GgufLimits& limits) {
  return Parser(bytes, name, limits).parse();
}

}  // namespace gogrid

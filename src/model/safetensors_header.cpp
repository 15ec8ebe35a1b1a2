#include "model/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

static_assert(std::endian::native == std::endian::little, "values are read as they are stored");

using Json = nlohmann::json;

constexpr Bytes kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

struct TypeRow {
  std::string_view name;
  std::size_t size;
};
// In the order of SafetensorsType.
constexpr auto kTypes = std::to_array<TypeRow>({{"F64", 8},
                                                {"F32", 4},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"F8_E4M3", 1},
                                                {"F8_E5M2", 1},
                                                {"I64", 8},
                                                {"I32", 4},
                                                {"I16", 2},
                                                {"I8", 1},
                                                {"U64", 8},
                                                {"U32", 4},
                                                {"U16", 2},
                                                {"U8", 1},
                                                {"BOOL", 1}});

std::optional<SafetensorsType> type_named(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &TypeRow::name);
  if (found == kTypes.end()) return std::nullopt;
  return static_cast<SafetensorsType>(found - kTypes.begin());
}

// Names reach logs and, mapped, other files: a control character forges a line.
bool is_printable(std::string_view name) {
  return std::ranges::all_of(
      name, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; });
}

// Reads the header's JSON without building a tree of it: three levels deep and no deeper, each
// value of the one kind that its place allows.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(std::string_view name, Bytes data_start, Bytes data_size,
               const SafetensorsLimits& limits)
      : name_(name), data_start_(data_start), data_size_(data_size), limits_(limits) {}

  Result<SafetensorsContents> finish(bool whole);

  bool null() override { return unexpected("null"); }
  bool boolean(bool /*value*/) override { return unexpected("true or false"); }
  bool number_integer(number_integer_t /*value*/) override {
    return unexpected("a negative number");
  }
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return unexpected("a fraction");
  }
  bool string(string_t& value) override;
  bool binary(binary_t& /*value*/) override { return unexpected("bytes"); }
  bool start_object(std::size_t /*elements*/) override;
  bool key(string_t& value) override;
  bool end_object() override;
  bool start_array(std::size_t /*elements*/) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return refuse(format_text("expected a header in JSON: it breaks off or errs at byte {}",
                              kLengthBytes + position));
  }

 private:
  enum class Place : std::uint8_t { kStart, kTop, kTensor, kShape, kOffsets, kMetadata, kEnd };
  enum class Field : std::uint8_t { kNone, kType, kShape, kOffsets };

  bool refuse(const std::string& what, ErrorCode code = ErrorCode::kCorrupt) {
    if (!error_) error_ = Error{code, format_text("[safetensors] {}: {}", name_, what), {}, {}};
    return false;
  }
  bool refuse_tensor(const std::string& what, ErrorCode code = ErrorCode::kCorrupt) {
    return refuse(format_text("tensor {}: {}", excerpt(tensor_.name), what), code);
  }
  bool unexpected(std::string_view what);
  bool start_tensor();
  bool read_field(std::string_view field);
  bool read_type(std::string_view value);
  bool end_tensor();
  bool check_size();
  Status check_names();
  Status check_layout() const;

  const std::string_view name_;
  const Bytes data_start_;
  const Bytes data_size_;
  const SafetensorsLimits& limits_;
  Place place_ = Place::kStart;
  std::string top_key_;
  std::string metadata_key_;
  bool has_metadata_ = false;
  SafetensorsTensor tensor_;
  Field field_ = Field::kNone;
  std::array<bool, 4> seen_{};  // by Field
  std::vector<std::uint64_t> offsets_;
  SafetensorsContents out_;
  std::optional<Error> error_;
};

bool HeaderReader::unexpected(std::string_view what) {
  switch (place_) {
    case Place::kTensor:
      return refuse_tensor(format_text("expected dtype, shape and data_offsets: {}", what));
    case Place::kShape:
      return refuse_tensor(format_text("expected whole numbers in shape: {}", what));
    case Place::kOffsets:
      return refuse_tensor(format_text("expected two whole numbers in data_offsets: {}", what));
    case Place::kMetadata:
      return refuse(format_text("expected texts in __metadata__: {}", what));
    case Place::kTop:
      return refuse(format_text("expected an object for {}: {}", excerpt(top_key_), what));
    case Place::kStart:
    case Place::kEnd:
      break;
  }
  return refuse(format_text("expected the header to be one object: {}", what));
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (place_ == Place::kShape) {
    if (tensor_.shape.size() == limits_.max_dimensions) {
      return refuse_tensor(
          format_text("expected at most {} dimensions: more", limits_.max_dimensions));
    }
    tensor_.shape.push_back(value);
    return true;
  }
  if (place_ == Place::kOffsets) {
    if (offsets_.size() == 2) return unexpected("more");
    offsets_.push_back(value);
    return true;
  }
  return unexpected("a number");
}

bool HeaderReader::string(string_t& value) {
  if (place_ == Place::kMetadata) {
    if (out_.metadata.size() == limits_.max_metadata) {
      return refuse(
          format_text("expected at most {} entries in __metadata__: more", limits_.max_metadata));
    }
    out_.metadata.emplace_back(std::move(metadata_key_), std::move(value));
    return true;
  }
  if (place_ == Place::kTensor && field_ == Field::kType) return read_type(value);
  return unexpected("a text");
}

bool HeaderReader::read_type(std::string_view value) {
  const auto type = type_named(value);
  if (!type) {
    return refuse_tensor(format_text("expected a known dtype: {}", excerpt(value)),
                         ErrorCode::kUnsupported);
  }
  tensor_.type = *type;
  return true;
}

bool HeaderReader::start_object(std::size_t /*elements*/) {
  if (place_ == Place::kStart) {
    place_ = Place::kTop;
    return true;
  }
  if (place_ != Place::kTop) return unexpected("an object");
  if (top_key_ == kMetadataKey) {
    if (has_metadata_) return refuse("expected __metadata__ once: twice");
    has_metadata_ = true;
    place_ = Place::kMetadata;
    return true;
  }
  return start_tensor();
}

bool HeaderReader::start_tensor() {
  if (out_.tensors.size() == limits_.max_tensors) {
    return refuse(format_text("expected at most {} tensors: more", limits_.max_tensors));
  }
  if (top_key_.empty() || top_key_.size() > limits_.max_name || !is_printable(top_key_)) {
    return refuse(format_text("expected a tensor's name of 1 to {} printable bytes: {}",
                              limits_.max_name, excerpt(top_key_)));
  }
  tensor_ = {};
  tensor_.name = std::move(top_key_);
  offsets_.clear();
  seen_ = {};
  field_ = Field::kNone;
  place_ = Place::kTensor;
  return true;
}

bool HeaderReader::key(string_t& value) {
  switch (place_) {
    case Place::kTop:
      top_key_ = std::move(value);
      return true;
    case Place::kMetadata:
      metadata_key_ = std::move(value);
      return true;
    case Place::kTensor:
      return read_field(value);
    default:
      return unexpected("a key");
  }
}

bool HeaderReader::read_field(std::string_view field) {
  if (field == "dtype") {
    field_ = Field::kType;
  } else if (field == "shape") {
    field_ = Field::kShape;
  } else if (field == "data_offsets") {
    field_ = Field::kOffsets;
  } else {
    return refuse_tensor(format_text("expected dtype, shape and data_offsets: {}", excerpt(field)));
  }
  bool& seen = seen_[static_cast<std::size_t>(field_)];
  if (seen) return refuse_tensor(format_text("expected {} once: twice", field));
  seen = true;
  return true;
}

bool HeaderReader::start_array(std::size_t /*elements*/) {
  if (place_ == Place::kTensor && field_ == Field::kShape) {
    place_ = Place::kShape;
  } else if (place_ == Place::kTensor && field_ == Field::kOffsets) {
    place_ = Place::kOffsets;
  } else {
    return unexpected("an array");
  }
  return true;
}

bool HeaderReader::end_array() {
  place_ = Place::kTensor;
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::kTop) {
    place_ = Place::kEnd;
    return true;
  }
  if (place_ == Place::kTensor && !end_tensor()) return false;
  place_ = Place::kTop;
  return true;
}

bool HeaderReader::end_tensor() {
  const auto has = [&](Field field) { return seen_[static_cast<std::size_t>(field)]; };
  if (!has(Field::kType) || !has(Field::kShape) || !has(Field::kOffsets)) {
    return refuse_tensor("expected dtype, shape and data_offsets: one is absent");
  }
  if (offsets_.size() != 2) {
    return refuse_tensor(
        format_text("expected two whole numbers in data_offsets: {}", offsets_.size()));
  }
  if (offsets_[0] > offsets_[1] || offsets_[1] > data_size_) {
    return refuse_tensor(format_text("expected data_offsets within the {} bytes of data: {} to {}",
                                     data_size_, offsets_[0], offsets_[1]));
  }
  tensor_.offset = data_start_ + offsets_[0];
  tensor_.size = offsets_[1] - offsets_[0];
  if (!check_size()) return false;
  out_.tensors.push_back(std::move(tensor_));
  return true;
}

bool HeaderReader::check_size() {
  std::optional<std::uint64_t> elements = 1;
  // A zero makes the product zero, whatever the rest would overflow to.
  if (std::ranges::contains(tensor_.shape, 0U)) {
    elements = 0;
  } else {
    for (const std::uint64_t dimension : tensor_.shape) {
      if (elements) elements = checked_mul(*elements, dimension);
    }
  }
  const auto size = elements ? checked_mul(*elements, element_size(tensor_.type)) : std::nullopt;
  if (!size || *size != tensor_.size) {
    return refuse_tensor(format_text("expected data of its shape and dtype, {}: {} bytes",
                                     size ? format_text("{} bytes", *size) : "more than 64 bits",
                                     tensor_.size));
  }
  tensor_.elements = *elements;
  return true;
}

Status HeaderReader::check_names() {
  std::ranges::sort(out_.tensors, {}, &SafetensorsTensor::name);
  const auto twice = std::ranges::adjacent_find(out_.tensors, {}, &SafetensorsTensor::name);
  if (twice == out_.tensors.end()) return {};
  return fail(ErrorCode::kCorrupt, format_text("[safetensors] {}: expected each tensor once: {} "
                                               "twice",
                                               name_, excerpt(twice->name)));
}

// The format allows neither overlaps nor holes: no byte is hidden, and none is two tensors'.
Status HeaderReader::check_layout() const {
  std::vector<const SafetensorsTensor*> by_place;
  by_place.reserve(out_.tensors.size());
  for (const SafetensorsTensor& tensor : out_.tensors) by_place.push_back(&tensor);
  std::ranges::sort(by_place, {}, [](const SafetensorsTensor* tensor) {
    return std::pair(tensor->offset, tensor->size);
  });
  Bytes end = data_start_;
  for (const SafetensorsTensor* tensor : by_place) {
    if (tensor->offset != end) {
      return fail(ErrorCode::kCorrupt,
                  format_text("[safetensors] {}: tensor {}: expected data without overlaps or "
                              "holes, from byte {}: from byte {}",
                              name_, excerpt(tensor->name), end - data_start_,
                              tensor->offset - data_start_));
    }
    end += tensor->size;
  }
  if (end != data_start_ + data_size_) {
    return fail(ErrorCode::kCorrupt,
                format_text("[safetensors] {}: expected {} bytes of data, as the header says: {}",
                            name_, end - data_start_, data_size_));
  }
  return {};
}

Result<SafetensorsContents> HeaderReader::finish(bool whole) {
  if (!whole && !error_) refuse("expected a header in JSON: it is none");
  if (error_) return std::unexpected(*error_);
  GOGRID_RETURN_IF_ERROR(check_names());
  GOGRID_RETURN_IF_ERROR(check_layout());
  return std::move(out_);
}

std::unexpected<Error> corrupt(std::string_view name, const std::string& what) {
  return fail(ErrorCode::kCorrupt, format_text("[safetensors] {}: {}", name, what));
}

}  // namespace

std::string_view to_string(SafetensorsType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}

std::size_t element_size(SafetensorsType type) {
  return kTypes[static_cast<std::size_t>(type)].size;
}

Result<SafetensorsContents> parse_safetensors(std::span<const std::byte> bytes,
                                              std::string_view name,
                                              const SafetensorsLimits& limits) {
  if (bytes.size() < kLengthBytes) {
    return corrupt(name, format_text("expected at least {} bytes: {}", kLengthBytes, bytes.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const Bytes left = bytes.size() - kLengthBytes;
  if (length > limits.max_header || length > left) {
    return corrupt(name, format_text("expected a header of at most {} bytes: {}",
                                     std::min(limits.max_header, left), length));
  }
  const auto header = bytes.subspan(kLengthBytes, length);
  if (header.empty() || header.front() != std::byte{'{'}) {
    return corrupt(name, "expected a safetensors file: its header does not begin with '{'");
  }
  HeaderReader reader(name, kLengthBytes + length, left - length, limits);
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  const bool whole = Json::sax_parse(text, &reader);
  return reader.finish(whole);
}

}  // namespace gogrid

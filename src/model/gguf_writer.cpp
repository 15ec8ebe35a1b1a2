#include "model/gguf_writer.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

// What readers assume where a file does not say.
constexpr Bytes kAlignment = 32;
constexpr std::size_t kMostDimensions = 4;
// Of a tensor, and of all: no sum of sizes can wrap.
constexpr Bytes kMost = Bytes{1} << 46;

std::unexpected<Error> refuse(ErrorCode code, const GgufTensorSpec& spec, const std::string& what) {
  return fail(code, format_text("[gguf_writer] tensor {}: {}", excerpt(spec.name), what));
}

}  // namespace

// --- GgufKeys

void GgufKeys::u32(std::string_view name, std::uint32_t value) {
  encoder_.key_u32(name, value);
  ++count_;
}

void GgufKeys::f32(std::string_view name, float value) {
  encoder_.key_f32(name, value);
  ++count_;
}

void GgufKeys::flag(std::string_view name, bool value) {
  encoder_.key_bool(name, value);
  ++count_;
}

void GgufKeys::text(std::string_view name, std::string_view value) {
  encoder_.key_text(name, value);
  ++count_;
}

void GgufKeys::texts(std::string_view name, std::span<const std::string> values) {
  encoder_.key_texts(name, values);
  ++count_;
}

void GgufKeys::i32s(std::string_view name, std::span<const std::int32_t> values) {
  encoder_.key_array(name, GgufType::kI32, values.size(), std::as_bytes(values));
  ++count_;
}

void GgufKeys::f32s(std::string_view name, std::span<const float> values) {
  encoder_.key_array(name, GgufType::kF32, values.size(), std::as_bytes(values));
  ++count_;
}

void GgufKeys::copy(std::string_view name, const GgufValue& value) {
  encoder_.key(name, value.type, value.raw);
  ++count_;
}

// --- GgufWriter

Result<Bytes> tensor_size(const GgufTensorSpec& spec) {
  constexpr auto kBad = ErrorCode::kInvalidArgument;
  if (spec.name.empty() || spec.name.size() > kMaxTensorName) {
    return refuse(
        kBad, spec,
        format_text("expected a name of 1 to {} bytes: {}", kMaxTensorName, spec.name.size()));
  }
  if (spec.shape.empty() || spec.shape.size() > kMostDimensions) {
    return refuse(
        kBad, spec,
        format_text("expected 1 to {} dimensions: {}", kMostDimensions, spec.shape.size()));
  }
  if (spec.type >= GGML_TYPE_COUNT || ggml_type_size(static_cast<ggml_type>(spec.type)) == 0) {
    return refuse(kBad, spec, format_text("expected a type of ggml's: {}", spec.type));
  }
  const auto type = static_cast<ggml_type>(spec.type);
  const auto block = static_cast<std::uint64_t>(ggml_blck_size(type));
  std::optional<Bytes> size = ggml_type_size(type);
  if (spec.shape.front() == 0 || spec.shape.front() % block != 0) {
    return refuse(kBad, spec,
                  format_text("expected rows of a multiple of {} elements for {}: {}", block,
                              ggml_type_name(type), spec.shape.front()));
  }
  size = checked_mul(*size, spec.shape.front() / block);
  for (const std::uint64_t dimension : std::span(spec.shape).subspan(1)) {
    if (dimension == 0) return refuse(kBad, spec, "expected elements: none");
    if (size) size = checked_mul(*size, dimension);
  }
  if (!size || *size > kMost) return refuse(kBad, spec, "expected less than 64 TiB: more");
  return *size;
}

Result<GgufLayout> lay_out(const GgufKeys& keys, std::span<const GgufTensorSpec> tensors) {
  GgufLayout layout;
  GgufEncoder encoder;
  encoder.start(tensors.size(), keys.count());
  encoder.append(keys.encoded());
  Bytes end = 0;  // of the data section so far
  for (const GgufTensorSpec& spec : tensors) {
    GOGRID_ASSIGN_OR_RETURN(const Bytes size, tensor_size(spec));
    encoder.tensor(spec.name, spec.shape, spec.type, end);
    layout.offsets.push_back(end);
    layout.sizes.push_back(size);
    layout.data_size += size;
    const auto padded = checked_add(end, *align_up(size, kAlignment));
    if (!padded || *padded > kMost)
      return refuse(ErrorCode::kInvalidArgument, spec, "expected fewer bytes in all");
    end = *padded;
  }
  layout.header = encoder.buffer();
  layout.header.resize(*align_up(layout.header.size(), kAlignment));
  for (Bytes& offset : layout.offsets) offset += layout.header.size();
  layout.file_size = layout.header.size() + end;
  return layout;
}

Result<GgufWriter> GgufWriter::begin(AtomicFile file, const GgufKeys& keys,
                                     std::vector<GgufTensorSpec> tensors) {
  GOGRID_ASSIGN_OR_RETURN(GgufLayout layout, lay_out(keys, tensors));
  GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(layout.header))));
  return GgufWriter(std::move(file), std::move(tensors), std::move(layout));
}

Status GgufWriter::claim(Bytes length) {
  const Bytes left = current_ < tensors_.size() ? layout_.sizes[current_] - written_of_current_ : 0;
  if (length <= left) return {};
  const std::string where =
      current_ < tensors_.size() ? excerpt(tensors_[current_].name) : "behind the last";
  return fail(
      ErrorCode::kInternal,
      format_text("[gguf_writer] tensor {}: expected {} more bytes: {}", where, left, length));
}

Status GgufWriter::advance(Bytes length) {
  written_ += length;
  written_of_current_ += length;
  if (written_of_current_ < layout_.sizes[current_]) return {};
  ++current_;
  written_of_current_ = 0;
  constexpr std::array<std::byte, kAlignment> kZeros{};
  const Bytes place = current_ < tensors_.size() ? layout_.offsets[current_] : layout_.file_size;
  return file_.write(std::span(kZeros).first(place - file_.size()));
}

Status GgufWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  GOGRID_RETURN_IF_ERROR(claim(bytes.size()));
  GOGRID_RETURN_IF_ERROR(file_.write(bytes));
  return advance(bytes.size());
}

Status GgufWriter::copy_from(int source_fd, Bytes offset, Bytes length) {
  if (length == 0) return {};
  GOGRID_RETURN_IF_ERROR(claim(length));
  GOGRID_RETURN_IF_ERROR(file_.copy_from(source_fd, offset, length));
  return advance(length);
}

Result<AtomicFile> GgufWriter::finish() {
  if (current_ < tensors_.size()) {
    return refuse(
        ErrorCode::kInternal, tensors_[current_],
        format_text("expected {} bytes: {}", layout_.sizes[current_], written_of_current_));
  }
  return std::move(file_);
}

}  // namespace gogrid

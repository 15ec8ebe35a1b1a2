#include "model/gguf_writer.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <format>
#include <optional>

#include "base/text.h"

namespace gogrid {
namespace {

// What readers assume where a file does not say.
constexpr Bytes kAlignment = 32;
constexpr std::size_t kMostDimensions = 4;

std::unexpected<Error> refuse(ErrorCode code, const GgufTensorSpec& spec, const std::string& what) {
  return fail(code, std::format("[gguf_writer] tensor {}: {}", excerpt(spec.name), what));
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

// --- GgufWriter

Result<Bytes> tensor_size(const GgufTensorSpec& spec) {
  constexpr auto kBad = ErrorCode::kInvalidArgument;
  if (spec.name.empty() || spec.name.size() > kMaxTensorName) {
    return refuse(
        kBad, spec,
        std::format("expected a name of 1 to {} bytes: {}", kMaxTensorName, spec.name.size()));
  }
  if (spec.shape.empty() || spec.shape.size() > kMostDimensions) {
    return refuse(
        kBad, spec,
        std::format("expected 1 to {} dimensions: {}", kMostDimensions, spec.shape.size()));
  }
  if (spec.type >= GGML_TYPE_COUNT || ggml_type_size(static_cast<ggml_type>(spec.type)) == 0) {
    return refuse(kBad, spec, std::format("expected a type of ggml's: {}", spec.type));
  }
  const auto type = static_cast<ggml_type>(spec.type);
  const auto block = static_cast<std::uint64_t>(ggml_blck_size(type));
  std::optional<Bytes> size = ggml_type_size(type);
  if (spec.shape.front() == 0 || spec.shape.front() % block != 0) {
    return refuse(kBad, spec,
                  std::format("expected rows of a multiple of {} elements for {}: {}", block,
                              ggml_type_name(type), spec.shape.front()));
  }
  size = checked_mul(*size, spec.shape.front() / block);
  for (const std::uint64_t dimension : std::span(spec.shape).subspan(1)) {
    if (dimension == 0) return refuse(kBad, spec, "expected elements: none");
    if (size) size = checked_mul(*size, dimension);
  }
  // So that no sum of sizes can wrap.
  constexpr Bytes kMost = Bytes{1} << 46;
  if (!size || *size > kMost) return refuse(kBad, spec, "expected less than 64 TiB: more");
  return *size;
}

Result<GgufWriter> GgufWriter::begin(AtomicFile file, const GgufKeys& keys,
                                     std::vector<GgufTensorSpec> tensors) {
  GgufWriter writer(std::move(file), std::move(tensors));
  GOGRID_RETURN_IF_ERROR(writer.place_tensors());
  GOGRID_RETURN_IF_ERROR(writer.write_header(keys));
  return writer;
}

Status GgufWriter::place_tensors() {
  for (const GgufTensorSpec& spec : tensors_) {
    GOGRID_ASSIGN_OR_RETURN(const Bytes size, tensor_size(spec));
    sizes_.push_back(size);
    const auto sum = checked_add(data_size_, size);
    if (!sum) return refuse(ErrorCode::kInvalidArgument, spec, "expected fewer bytes in all");
    data_size_ = *sum;
  }
  return {};
}

Status GgufWriter::write_header(const GgufKeys& keys) {
  GgufEncoder header;
  header.start(tensors_.size(), keys.count());
  header.append(keys.encoded());
  Bytes offset = 0;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    header.tensor(tensors_[i].name, tensors_[i].shape, tensors_[i].type, offset);
    offset = *align_up(offset + sizes_[i], kAlignment);
  }
  GOGRID_RETURN_IF_ERROR(file_.write(std::as_bytes(std::span(header.buffer()))));
  return pad();
}

// The data section, and each tensor in it, begins at a multiple of the alignment.
Status GgufWriter::pad() {
  constexpr std::array<std::byte, kAlignment> kZeros{};
  const Bytes missing = *align_up(file_.size(), kAlignment) - file_.size();
  return file_.write(std::span(kZeros).first(missing));
}

Status GgufWriter::claim(Bytes length) {
  const Bytes left = current_ < tensors_.size() ? sizes_[current_] - written_of_current_ : 0;
  if (length <= left) return {};
  const std::string where =
      current_ < tensors_.size() ? excerpt(tensors_[current_].name) : "behind the last";
  return fail(
      ErrorCode::kInternal,
      std::format("[gguf_writer] tensor {}: expected {} more bytes: {}", where, left, length));
}

Status GgufWriter::advance(Bytes length) {
  written_ += length;
  written_of_current_ += length;
  if (written_of_current_ < sizes_[current_]) return {};
  ++current_;
  written_of_current_ = 0;
  return pad();
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
    return refuse(ErrorCode::kInternal, tensors_[current_],
                  std::format("expected {} bytes: {}", sizes_[current_], written_of_current_));
  }
  return std::move(file_);
}

}  // namespace gogrid

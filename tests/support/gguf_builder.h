// Builds GGUF bytes field by field, well-formed or broken at will: for tests of the reader. It
// shares no code with the product's writer, so that the two check each other.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gogrid::testing {

// Not thread-safe. Whatever is not overridden is what a well-formed file would hold.
class GgufBuilder {
 public:
  // Element types of the format, and ggml_type numbers, spelled as numbers on purpose.
  static constexpr std::uint32_t kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kU32 = 4, kI32 = 5, kF32 = 6,
                                 kBool = 7, kString = 8, kArray = 9, kU64 = 10, kI64 = 11,
                                 kF64 = 12;
  static constexpr std::uint32_t kTensorF32 = 0, kTensorF16 = 1, kTensorQ4_0 = 2, kTensorQ4_1 = 3,
                                 kTensorQ8_0 = 8, kTensorQ8_1 = 9, kTensorQ4K = 12;

  static std::string text(std::string_view value) {
    return number(std::uint64_t{value.size()}) + std::string(value);
  }
  template <class T>
  static std::string number(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  // An array's value: element type, count and elements.
  static std::string array(std::uint32_t element, std::uint64_t count, std::string_view bytes) {
    return number(element) + number(count) + std::string(bytes);
  }
  template <class T>
  static std::string array_of(std::uint32_t element, const std::vector<T>& values) {
    std::string bytes;
    for (const T value : values) bytes += number(value);
    return array(element, values.size(), bytes);
  }
  static std::string strings(const std::vector<std::string>& values) {
    std::string bytes;
    for (const std::string& value : values) bytes += text(value);
    return array(kString, values.size(), bytes);
  }

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count;  // else: as many as were added
  std::optional<std::uint64_t> key_count;
  std::uint64_t alignment = 32;  // of the layout; add the key yourself where it is not 32

  GgufBuilder& key(std::string_view name, std::uint32_t type, std::string_view value) {
    keys_ += text(name) + number(type) + std::string(value);
    ++n_keys_;
    return *this;
  }
  GgufBuilder& key_u32(std::string_view name, std::uint32_t value) {
    return key(name, kU32, number(value));
  }
  GgufBuilder& key_text(std::string_view name, std::string_view value) {
    return key(name, kString, text(value));
  }
  // Bytes of a key entry as they are, counted as one key.
  GgufBuilder& raw_key(std::string_view bytes) {
    keys_ += bytes;
    ++n_keys_;
    return *this;
  }

  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint32_t type = kTensorF32;
    std::string data;
    std::optional<std::uint32_t> n_dims;  // else: shape.size()
    std::optional<std::uint64_t> offset;  // else: right behind the one before, aligned
  };
  GgufBuilder& tensor(Tensor tensor) {
    tensors_.push_back(std::move(tensor));
    return *this;
  }
  // A tensor of floats that count up from `first`.
  GgufBuilder& floats(std::string_view name, std::vector<std::uint64_t> shape, float first = 0) {
    std::uint64_t count = 1;
    for (const std::uint64_t dimension : shape) count *= dimension;
    std::string data;
    for (std::uint64_t i = 0; i < count; ++i) data += number(first + static_cast<float>(i));
    return tensor({std::string(name), std::move(shape), kTensorF32, std::move(data), {}, {}});
  }

  // All up to the tensor data, unpadded.
  std::string header() const {
    std::string out = magic + number(version) + number(tensor_count.value_or(tensors_.size())) +
                      number(key_count.value_or(n_keys_)) + keys_;
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors_) {
      out += text(tensor.name);
      out += number(tensor.n_dims.value_or(static_cast<std::uint32_t>(tensor.shape.size())));
      for (const std::uint64_t dimension : tensor.shape) out += number(dimension);
      out += number(tensor.type) + number(tensor.offset.value_or(offset));
      offset = aligned(offset + tensor.data.size());
    }
    return out;
  }

  std::string build() const {
    std::string out = header();
    if (tensors_.empty()) return out;
    out.resize(aligned(out.size()));
    for (const Tensor& tensor : tensors_) {
      out += tensor.data;
      out.resize(aligned(out.size()));
    }
    return out;
  }

 private:
  std::uint64_t aligned(std::uint64_t value) const {
    return (value + alignment - 1) / alignment * alignment;
  }

  std::string keys_;
  std::uint64_t n_keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace gogrid::testing

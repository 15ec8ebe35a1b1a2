// Writes the header of a GGUF file (version 3) into memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "model/gguf_file.h"

namespace gogrid {

// Not thread-safe. The caller counts keys and tensors.
class GgufEncoder {
 public:
  void start(std::uint64_t n_tensors, std::uint64_t n_keys) {
    out_ += "GGUF";
    number(std::uint32_t{3});
    number(n_tensors);
    number(n_keys);
  }
  // A value as it is stored elsewhere, type tag excluded.
  void key(std::string_view name, GgufType type, std::span<const std::byte> raw) {
    key_start(name, type);
    bytes(raw);
  }
  void key_u32(std::string_view name, std::uint32_t value) {
    key_start(name, GgufType::kU32);
    number(value);
  }
  void key_f32(std::string_view name, float value) {
    key_start(name, GgufType::kF32);
    number(value);
  }
  void key_bool(std::string_view name, bool value) {
    key_start(name, GgufType::kBool);
    number(static_cast<std::uint8_t>(value));
  }
  void key_text(std::string_view name, std::string_view value) {
    key_start(name, GgufType::kString);
    text(value);
  }
  void key_array(std::string_view name, GgufType element, std::uint64_t count,
                 std::span<const std::byte> raw) {
    key_start(name, GgufType::kArray);
    number(static_cast<std::uint32_t>(element));
    number(count);
    bytes(raw);
  }
  void key_texts(std::string_view name, std::span<const std::string> values) {
    key_start(name, GgufType::kArray);
    number(static_cast<std::uint32_t>(GgufType::kString));
    number(std::uint64_t{values.size()});
    for (const std::string& value : values) text(value);
  }
  // `offset` counts from the start of the data section.
  void tensor(std::string_view name, std::span<const std::uint64_t> shape, std::uint32_t type,
              std::uint64_t offset) {
    text(name);
    number(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t dimension : shape) number(dimension);
    number(type);
    number(offset);
  }

  void append(const GgufEncoder& other) { out_ += other.out_; }

  const std::string& buffer() const { return out_; }

 private:
  template <class T>
  void number(T value) {
    bytes(std::as_bytes(std::span(&value, 1)));
  }
  void text(std::string_view value) {
    number(std::uint64_t{value.size()});
    out_ += value;
  }
  void bytes(std::span<const std::byte> raw) {
    out_.append(reinterpret_cast<const char*>(raw.data()), raw.size());
  }
  void key_start(std::string_view name, GgufType type) {
    text(name);
    number(static_cast<std::uint32_t>(type));
  }

  std::string out_;
};

}  // namespace gogrid

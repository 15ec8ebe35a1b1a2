// Builds safetensors bytes, well-formed or broken at will, and folders in the Hugging Face layout
// around them. It shares no code with the product's reader.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"

namespace gogrid::testing {

// Eight bytes of length, the header as it is, the data as they are.
inline std::string safetensors_of(std::string_view header, std::string_view data = {}) {
  const std::uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes.append(header).append(data);
}

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Not thread-safe.
class SafetensorsBuilder {
 public:
  SafetensorsBuilder& tensor(std::string_view name, std::string_view type,
                             const std::vector<std::uint64_t>& shape, std::string_view data) {
    std::string dimensions;
    for (const std::uint64_t dimension : shape) {
      dimensions += format_text("{}{}", dimensions.empty() ? "" : ",", dimension);
    }
    header_ += format_text(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, type, dimensions, data_.size(),
                           data_.size() + data.size());
    data_ += data;
    return *this;
  }
  SafetensorsBuilder& floats(std::string_view name, const std::vector<std::uint64_t>& shape,
                             const std::vector<float>& values) {
    return tensor(name, "F32", shape, bytes_of(values));
  }
  std::string build() const { return safetensors_of("{" + header_ + "}", data_); }

 private:
  std::string header_;
  std::string data_;
};

}  // namespace gogrid::testing

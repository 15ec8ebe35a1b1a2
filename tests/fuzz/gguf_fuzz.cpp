// Any bytes at all: read as a model, and then everything that the reader offers is used, as later
// layers would. What the reader accepts must be safe to touch, and what is cut from it readable
// again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "model/gguf_file.h"
#include "model/gguf_slicer.h"

namespace {

using gogrid::GgufArray;
using gogrid::GgufFile;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "gguf_fuzz: %s\n", what);
  std::abort();
}

std::uint64_t touched = 0;

void touch(std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) touched += static_cast<std::uint8_t>(byte);
}

void read_array(const GgufArray& array) {
  const auto integers = array.integers();
  const auto floats = array.floats();
  const auto strings = array.strings();
  require(integers.size() + floats.size() + strings.size() == array.count,
          "an array has elements of exactly one kind");
  for (const std::string_view text : strings) touch(std::as_bytes(std::span(text)));
  touch(array.bytes);
}

void read_keys(const GgufFile& file) {
  for (const auto& [key, value] : file.metadata()) {
    require(file.find(key) == &value, "every key is found by its name");
    touch(value.raw);
    touched += file.unsigned_of(key).value_or(0) + file.bool_of(key).value_or(false);
    touched += file.float_of(key).has_value();
    if (const auto text = file.string_of(key)) touch(std::as_bytes(std::span(*text)));
    if (const GgufArray* array = file.array_of(key)) read_array(*array);
  }
}

void read_tensors(const GgufFile& file) {
  for (const auto& tensor : file.tensors()) {
    require(file.tensor(tensor.name) == &tensor, "every tensor is found by its name");
    require(tensor.size > 0 && !tensor.type_name.empty(), "every tensor has a size and a type");
    touch(file.data(tensor));
  }
}

// Plans slices without writing them.
void plan_slices(const GgufFile& file) {
  for (const gogrid::LayerRange range : {gogrid::LayerRange{0, 1}, {1, 3}, {0, 0xFFFFFFFF}}) {
    const auto size = gogrid::slice_size(file, range);
    require(!size || *size > 0, "a slice has a size");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file) {
    require(file.error().message.starts_with("[gguf] fuzz: "), "a refusal says where");
    return 0;
  }
  read_keys(*file);
  read_tensors(*file);
  plan_slices(*file);
  return 0;
}

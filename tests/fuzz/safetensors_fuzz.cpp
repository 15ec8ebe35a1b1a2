// Any bytes at all: read as safetensors, and then everything that the reader offers is touched.
// What the reader accepts must be safe to touch, and add up.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "model/safetensors_file.h"

namespace {

using namespace gogrid;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "safetensors_fuzz: %s\n", what);
  std::abort();
}

std::uint64_t touched = 0;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file) {
    require(file.error().message.starts_with("[safetensors] fuzz: "), "a refusal says where");
    return 0;
  }
  Bytes covered = 0;
  for (const SafetensorsTensor& tensor : file->tensors()) {
    require(file->tensor(tensor.name) == &tensor, "every tensor is found by its name");
    require(tensor.size == tensor.elements * element_size(tensor.type), "sizes add up");
    for (const std::byte byte : file->data(tensor)) touched += static_cast<std::uint8_t>(byte);
    covered += tensor.size;
  }
  require(covered <= size, "no byte belongs to two tensors");
  return 0;
}

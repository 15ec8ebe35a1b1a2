// A reader of safetensors files that believes nothing: every length, type, shape and offset is
// checked against the file's size and a limit before it is used. Format: eight bytes of header
// length (little-endian), a JSON object {"name": {"dtype", "shape", "data_offsets"}}, then the
// data, without holes. https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

enum class SafetensorsType : std::uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
};

// "BF16", as files spell it.
std::string_view to_string(SafetensorsType type);
// Bytes of one element.
std::size_t element_size(SafetensorsType type);

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<std::uint64_t> shape;  // the last dimension is the row length; empty: one number
  std::uint64_t elements = 0;
  Bytes offset = 0;  // from the start of the file
  Bytes size = 0;
};

// A tensor and its bytes, which may begin anywhere.
struct TensorView {
  const SafetensorsTensor* info = nullptr;  // null: there is none
  std::span<const std::byte> data;
};

// Far above every published file (whose headers are below 8 MiB), and low enough that no file costs
// the reader a second or 256 MiB.
struct SafetensorsLimits {
  Bytes max_header = 32 * kMiB;
  std::uint64_t max_tensors = 1U << 17;
  std::uint64_t max_metadata = 1U << 12;  // entries of __metadata__
  std::size_t max_name = 512;
  std::size_t max_dimensions = 8;
};

// Immutable after open(); reading it is thread-safe. Views stay valid while it lives (also after a
// move).
class SafetensorsFile {
 public:
  // kNotFound, kIo; kCorrupt "[safetensors] PATH: what was expected: what came" for a damaged or
  // hostile file; kUnsupported for a type of element that this build does not know.
  static Result<SafetensorsFile> open(const std::filesystem::path& path,
                                      const SafetensorsLimits& limits = {});
  // The same checks over bytes in memory (fuzzing, tests). `bytes` must outlive the result.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, std::string_view name,
                                       const SafetensorsLimits& limits = {});
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::filesystem::path& path() const;
  // The open file, to copy tensor data from; -1 when parsed from memory.
  int descriptor() const;
  // Sorted by name.
  std::span<const SafetensorsTensor> tensors() const;
  // Null when absent.
  const SafetensorsTensor* tensor(std::string_view name) const;
  // May begin at any byte: nothing in the format aligns it.
  std::span<const std::byte> data(const SafetensorsTensor& tensor) const;
  // The file's __metadata__, in its order.
  std::span<const std::pair<std::string, std::string>> metadata() const;

 private:
  struct State;
  explicit SafetensorsFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid

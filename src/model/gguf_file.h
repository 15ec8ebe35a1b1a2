// A reader of GGUF files (version 2 and 3) that believes nothing: every count, length, offset and
// type is checked against the file's size and a limit before it is used, so that libllama never
// sees a file that we have not read. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// On-disk numbers of the format.
enum class GgufType : std::uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// An array stays where it is in the file: `bytes` are its elements as stored (strings:
// length-prefixed). Checked when the file was opened, so that reading elements cannot fail.
struct GgufArray {
  GgufType type = GgufType::kU8;
  std::uint64_t count = 0;
  std::span<const std::byte> bytes;

  // Elements of an integer or bool array, widened (u64 above the range of i64: its end). Empty for
  // other types.
  std::vector<std::int64_t> integers() const;
  std::vector<double> floats() const;
  std::vector<std::string_view> strings() const;
};

struct GgufValue {
  GgufType type = GgufType::kU8;
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufArray> value;
  std::span<const std::byte>
      raw;  // type tag excluded: the bytes as stored, to copy a key unchanged
};

// ggml's own bound on a tensor's name, which it keeps in a fixed array with a final zero.
inline constexpr std::size_t kMaxTensorName = 63;

struct GgufTensor {
  std::string_view name;
  std::array<std::uint64_t, 4> shape{1, 1, 1,
                                     1};  // ggml order: shape[0] is the row length in elements
  std::uint32_t n_dims = 0;
  std::uint32_t type = 0;      // ggml_type
  std::string_view type_name;  // "q4_1"
  Bytes offset = 0;            // from the start of the file, or of the first of several
  Bytes size = 0;              // exact, without padding
};

// Far above every published model (whose headers are below 32 MiB), and low enough that no file
// costs the reader a second or 256 MiB.
struct GgufLimits {
  std::uint64_t max_keys = 1U << 16;
  std::uint64_t max_tensors = 1U << 17;
  std::uint64_t max_key_length = 256;
  std::uint64_t max_string = 1U << 26;          // one string: a chat template or a merges blob
  std::uint64_t max_array_elements = 1U << 23;  // over all arrays of the file
  Bytes max_header = 128 * kMiB;                // everything before the tensor data
};

// Immutable after open(); reading it is thread-safe. Views stay valid while it lives (also after a
// move).
class GgufFile {
 public:
  // kNotFound, kIo; kCorrupt "[gguf] PATH: what was expected: what came" for a damaged or hostile
  // file; kUnsupported for a tensor type or version this build does not know.
  //
  // The first part of a split model ("name-00001-of-00003.gguf") stands for all, which must lie
  // beside it: they are read as one file without the keys of the split. kNotFound names a part that
  // is missing; kInvalidArgument for another part than the first.
  static Result<GgufFile> open(const std::filesystem::path& path, const GgufLimits& limits = {});
  // The same checks over bytes in memory (fuzzing, tests). `bytes` must outlive the result.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string_view name,
                                const GgufLimits& limits = {});
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::filesystem::path& path() const;
  // The open file, to copy tensor data from; -1 when parsed from memory, or read from several
  // files.
  int descriptor() const;
  // The files it is read from, in their order; none when parsed from memory.
  std::vector<std::filesystem::path> part_paths() const;
  Bytes file_size() const;  // of all parts
  std::uint32_t version() const;
  Bytes alignment() const;
  Bytes data_offset() const;

  // Keys in file order, and look-ups that answer empty for "absent or of another type". Integers of
  // any width convert.
  std::span<const std::pair<std::string_view, GgufValue>> metadata() const;
  const GgufValue* find(std::string_view key) const;
  std::optional<std::uint64_t> unsigned_of(std::string_view key) const;
  std::optional<double> float_of(std::string_view key) const;
  std::optional<bool> bool_of(std::string_view key) const;
  std::optional<std::string_view> string_of(std::string_view key) const;
  const GgufArray* array_of(std::string_view key) const;

  std::span<const GgufTensor> tensors() const;
  const GgufTensor* tensor(std::string_view name) const;
  std::span<const std::byte> data(const GgufTensor& tensor) const;

 private:
  struct State;
  explicit GgufFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid

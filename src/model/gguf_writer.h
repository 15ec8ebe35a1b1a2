// Writes a GGUF file (version 3) as a stream: keys and tensor table first, then each tensor's bytes
// in the order of the table. Takes no more memory than its header.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "base/units.h"
#include "model/gguf_encoder.h"

namespace gogrid {

// The keys of a file to be written, in the order in which they are added. Not thread-safe.
class GgufKeys {
 public:
  void u32(std::string_view name, std::uint32_t value);
  void f32(std::string_view name, float value);
  void flag(std::string_view name, bool value);
  void text(std::string_view name, std::string_view value);
  void texts(std::string_view name, std::span<const std::string> values);
  void i32s(std::string_view name, std::span<const std::int32_t> values);
  void f32s(std::string_view name, std::span<const float> values);
  // As another file has it.
  void copy(std::string_view name, const GgufValue& value);

  const GgufEncoder& encoded() const { return encoder_; }
  std::uint64_t count() const { return count_; }

 private:
  GgufEncoder encoder_;
  std::uint64_t count_ = 0;
};

struct GgufTensorSpec {
  std::string name;
  std::vector<std::uint64_t> shape;  // ggml order: shape[0] is the row length in elements
  std::uint32_t type = 0;            // ggml_type
};

// What a file begins with, and where the bytes of each tensor belong.
struct GgufLayout {
  std::string header;          // padded: the first tensor's bytes come behind it
  std::vector<Bytes> offsets;  // of each tensor, from the start of the file
  std::vector<Bytes> sizes;    // of each tensor, without padding
  Bytes data_size = 0;         // their sum
  Bytes file_size = 0;         // with zeros behind each tensor, up to the alignment of 32
};

// kInvalidArgument for a name or shape that no GGUF can have, or a row that is no whole number of
// its type's blocks.
Result<GgufLayout> lay_out(const GgufKeys& keys, std::span<const GgufTensorSpec> tensors);

// Not thread-safe. After an error the file is as good as absent: drop the writer.
class GgufWriter {
 public:
  // Writes the header at the start of `file`, which must be empty. Refusals as lay_out().
  static Result<GgufWriter> begin(AtomicFile file, const GgufKeys& keys,
                                  std::vector<GgufTensorSpec> tensors);

  // Bytes of tensor data, padding excluded.
  Bytes data_size() const { return layout_.data_size; }
  Bytes written() const { return written_; }

  // The next bytes of the tensor that is being written; the one behind it begins when it is full.
  // kInternal when they reach beyond its end.
  Status write(std::span<const std::byte> bytes);
  // The same, copied by the kernel where it can: `length` bytes of `source_fd` from `offset`.
  Status copy_from(int source_fd, Bytes offset, Bytes length);

  // The whole file, to be committed. kInternal while tensors lack bytes.
  Result<AtomicFile> finish();

 private:
  GgufWriter(AtomicFile file, std::vector<GgufTensorSpec> tensors, GgufLayout layout)
      : file_(std::move(file)), tensors_(std::move(tensors)), layout_(std::move(layout)) {}
  Status claim(Bytes length);
  Status advance(Bytes length);

  AtomicFile file_;
  std::vector<GgufTensorSpec> tensors_;
  GgufLayout layout_;
  Bytes written_ = 0;
  std::size_t current_ = 0;  // the tensor that is being written
  Bytes written_of_current_ = 0;
};

// Bytes of a tensor of this type and shape; kInvalidArgument as above.
Result<Bytes> tensor_size(const GgufTensorSpec& spec);

}  // namespace gogrid

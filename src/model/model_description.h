// What a model file says of itself, for people: also of files that cannot run here. Read from the
// header alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/gguf_file.h"
#include "model/model_profile.h"
#include "model/split_file.h"

namespace gogrid {

// All tensors of one type.
struct TypeShare {
  std::string type;
  std::uint64_t tensors = 0;
  std::uint64_t parameters = 0;
  Bytes bytes = 0;
};

// A number that may differ from layer to layer.
struct Spread {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
};

// Texts are printable, on one line and bounded, whatever the file has. Empty: the file does not
// say.
struct ModelDescription {
  std::string name;          // general.name
  std::string architecture;  // general.architecture
  std::string license;       // general.license
  std::string quantization;  // the type that most bytes of the matrices have
  std::uint32_t gguf_version = 0;
  FilePart part;          // of a file that is read alone, from memory
  std::size_t files = 1;  // that the model lies in
  Bytes file_bytes = 0;

  std::uint64_t parameters = 0;  // numbers in all tensors
  Bytes tensor_bytes = 0;
  double bits_per_weight = 0;    // of all tensors together; 0 where there are none
  std::vector<TypeShare> types;  // the one with most bytes first

  std::optional<std::uint64_t> layers;
  std::optional<std::uint64_t> context;  // trained
  std::optional<std::uint64_t> embedding_length;
  std::optional<Spread> heads;
  std::optional<Spread> kv_heads;
  std::uint64_t experts = 0;  // 0: none
  std::optional<Spread> experts_used;

  std::uint64_t vocabulary = 0;     // tokens; 0: none in the file
  std::string vocabulary_type;      // tokenizer.ggml.model: "gpt2", "llama", "bert"
  std::string vocabulary_splitter;  // tokenizer.ggml.pre
  Bytes template_bytes = 0;         // of tokenizer.chat_template; 0: none

  // What it takes to run it, and where it may be cut; or why it cannot run here.
  Result<ModelProfile> profile = fail(ErrorCode::kInternal, "[model_description] not read");
};

// Total: whatever GgufFile accepts can be described. Linear in the header, as read_profile().
ModelDescription describe_model(const GgufFile& file);

// The type that most bytes of the matrices have: "q4_1"; "unknown" where there is none.
std::string quantization_of(const GgufFile& file);

// Of one tensor's shape, without the dimensions of 1 at its end.
std::string shape_text(const GgufTensor& tensor);

// `text` on one line without control characters, cut to about `limit` bytes with "..." at its end
// and never inside a character.
std::string shown_text(std::string_view text, std::size_t limit = 60);

}  // namespace gogrid

// Which type each tensor of a model gets: libllama's choice behind checks of ours, since it ends
// the process on some of what it does not expect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/gguf_file.h"
#include "model/importance_matrix.h"
#include "model/quantization_types.h"
#include "model/tensor_recipe.h"

namespace gogrid {

struct QuantizeOptions {
  QuantizationMix mix;
  // What the mix does not choose. The first override whose pattern is found in a name counts.
  std::vector<TensorOverride> overrides = {};
  std::optional<WeightType> output_type = {};  // output.weight, or the embedding it is tied to
  std::optional<WeightType> token_embedding_type = {};  // token_embd.weight
  bool pure = false;                                    // all tensors in the mix's own type
  bool allow_requantize = false;  // weights that are quantized already lose once more
  const ImportanceMatrix* importance = nullptr;  // must outlive the call
  std::string importance_name = {};              // written into the file, as llama-quantize does
  unsigned threads = 0;                          // 0: one for each core
};

struct QuantizedTensor {
  std::string name;
  WeightType from;
  WeightType to;
  Bytes before = 0;
  Bytes after = 0;
  std::uint64_t elements = 0;

  bool changes() const { return from.type != to.type; }
};

struct QuantizationPlan {
  std::vector<QuantizedTensor> tensors;  // in the order in which they are written
  std::size_t fallbacks = 0;  // tensors whose rows do not fit the type's blocks: a wider type
  Bytes file_bytes = 0;       // of what will be written, at most a few KiB more
  Bytes buffer_bytes = 0;     // working memory of all threads
  unsigned threads = 1;

  Bytes before() const;  // of all tensors
  Bytes after() const;
  double bits_per_weight() const;
};

// What quantize_model() will do, asked of libllama; touches no weights.
//   kInvalidArgument  options that do not fit the file, by name: weights that are quantized
//   already,
//                     a type that needs an importance matrix, a pattern that is in no name
//   kUnsupported      what libllama cannot write
// `model` must be one that read_profile() accepts.
Result<QuantizationPlan> plan_quantization(const GgufFile& model, const QuantizeOptions& options);

// Whether libllama writes this tensor in this type only with an importance matrix that has
// something on it: below that the result is no use.
bool needs_importance(std::string_view tensor, const WeightType& type);

// Tells what a line of libllama's is about: the name out of "[  12/ 272] blk.0.attn_k.weight - […".
std::optional<std::string_view> tensor_of_line(std::string_view line);

}  // namespace gogrid

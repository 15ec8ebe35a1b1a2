// The tensors of an import: which there will be, and each one's way from safetensors to GGUF.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_writer.h"
#include "model/hf_architectures.h"
#include "model/hf_config.h"
#include "model/safetensors_folder.h"
#include "model/weight_conversion.h"

namespace gogrid {

// One tensor to be written, and what it is made of.
struct TensorJob {
  GgufTensorSpec spec;
  FloatType type = FloatType::kF32;
  ShardTensor source;  // without info: `made` is the tensor
  std::vector<float> made;
  std::uint32_t permuted_heads = 0;  // 0: rows stay where they are
  float shift = 0;                   // added to each element
};

// The type that loses nothing of most of the weights, or F16 for those of 32 bits.
FloatType natural_type(const SafetensorsFolder& weights);

// In the order in which they are written: embeddings, layer by layer, the rest. kUnsupported for a
// tensor or an element type that is not known, kCorrupt when one is absent, there twice, or of a
// shape that cannot be.
Result<std::vector<TensorJob>> plan_tensors(const HfArchitecture& architecture,
                                            const HfConfig& config,
                                            const SafetensorsFolder& weights, FloatType type);

// Writes the tensor. kCorrupt when a weight is infinite or no number; kInvalidArgument when it is
// one, but too large for the type that it is written as. `progress` is called every few MiB with
// the bytes that `writer` has written, and may cancel.
Status write_tensor(const TensorJob& job, GgufWriter& writer, const Progress& progress);

}  // namespace gogrid

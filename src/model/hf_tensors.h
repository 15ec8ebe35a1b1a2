// The tensors of an import: which there will be, and each one's way from safetensors to GGUF.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_writer.h"
#include "model/hf_architectures.h"
#include "model/hf_config.h"
#include "model/packed_conversion.h"
#include "model/packed_format.h"
#include "model/packed_matrix.h"
#include "model/safetensors_folder.h"
#include "model/scaled_format.h"
#include "model/scaled_matrix.h"
#include "model/weight_conversion.h"

namespace gogrid {

// One tensor to be written, and what it is made of.
struct TensorJob {
  GgufTensorSpec spec;
  StoredType type = StoredType::kF32;  // not of packed ones
  ShardTensor source;                  // without info: `made` is the tensor
  std::vector<float> made;
  std::shared_ptr<const PackedMatrix> packed;  // not null: of source, which is its qweight
  std::shared_ptr<const ScaledMatrix> scaled;  // not null: source times its scales
  std::uint32_t permuted_heads = 0;            // 0: rows stay where they are
  float shift = 0;                             // added to each element
};

// How the folder's weights are quantized, where they are: in one way at most.
struct WeightFormat {
  std::optional<PackedFormat> packed = {};  // by GPTQ or AWQ
  std::optional<ScaledFormat> scaled = {};  // FP8
};

// The type that loses nothing of most of the weights, or F16 for those of 32 bits.
StoredType natural_type(const SafetensorsFolder& weights);

// What matrices become.
struct TensorTypes {
  StoredType plain = StoredType::kF16;  // of those that are not packed
  // Of packed ones, a ggml_type; none: natural_type().
  std::optional<std::uint32_t> packed = {};
};

// In the order in which they are written: embeddings, layer by layer, the rest. By the
// `format`, tensors X.qweight and so on are packed ones, and those of FP8 have scales. kUnsupported
// for a tensor or an element type that is not known, kCorrupt when one is absent, there twice, or
// of another shape than the configuration says; kInvalidArgument for a packed type whose blocks do
// not divide a row.
Result<std::vector<TensorJob>> plan_tensors(const HfArchitecture& architecture,
                                            const HfConfig& config, const WeightFormat& format,
                                            const SafetensorsFolder& weights,
                                            const TensorTypes& types);

}  // namespace gogrid

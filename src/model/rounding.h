// What a type does to weights: rounds them as libllama's quantizer does, and says how far off that
// is.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/units.h"
#include "model/gguf_file.h"
#include "model/quantization_types.h"

namespace gogrid {

// How much each column matters, [matrices, columns] (ImportanceEntry::means()); empty: all alike.
using ColumnImportance = std::span<const float>;

// The part of a tensor's square that rounding to `type` takes away: the sum of
// importance * (w - q)^2 over that of importance * w^2. 0 where there are no weights but zeros. Of
// rows taken evenly over the tensor, about `sample` weights and 32 rows at least; all where it has
// fewer. `type`'s blocks must divide the rows, and types that need an importance must have one.
// Thread-safe; of 0.1 to 50 million weights a second, by the type.
double rounding_error(const GgufFile& file, const GgufTensor& tensor, const WeightType& type,
                      ColumnImportance importance, std::uint64_t sample);

// Writes the tensor's weights to `fd` from `offset`, as numbers of type `stored`, after rounding
// them to `type`: what a model computes with that has the tensor in that type. kIo.
Status write_rounded(const GgufFile& file, const GgufTensor& tensor, const WeightType& type,
                     ColumnImportance importance, std::uint32_t stored, int fd, Bytes offset);
// The same without rounding.
Status write_weights(const GgufFile& file, const GgufTensor& tensor, std::uint32_t stored, int fd,
                     Bytes offset);

}  // namespace gogrid

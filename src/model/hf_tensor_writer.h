// Writes what was planned of an import, tensor by tensor.
#pragma once

#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_writer.h"
#include "model/hf_tensors.h"
#include "model/packed_conversion.h"

namespace gogrid {

// Writes the tensor; answers what a packed or scaled one lost. kCorrupt when a weight is infinite
// or no number; kInvalidArgument when it is one, but too large for the type that it is written as.
// `progress` is called every few MiB with the bytes that `writer` has written, and may cancel.
Result<SquaredError> write_tensor(const TensorJob& job, GgufWriter& writer,
                                  const Progress& progress);

}  // namespace gogrid

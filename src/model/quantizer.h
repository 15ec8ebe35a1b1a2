// Makes a model smaller, as planned: piece by piece on several threads, so that it can rest and
// stop between any two, and takes little memory. The arithmetic is ggml's; the file is, byte for
// byte, the one that llama-quantize writes.
#pragma once

#include "base/files.h"
#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_file.h"
#include "model/quantization_plan.h"

namespace gogrid {

// Writes the quantized model into `file`, which must be empty, and reads its header back.
// `plan` must have been made of the same model and options. `progress` is told the bytes of the
// model's tensors that are done: after each piece of some 64 Ki weights, on any of the threads, on
// one at a time; while it waits, the others come to rest behind it.
//
// kCorrupt, by the tensor's name, where a weight is no finite number or becomes none; kCancelled by
// `progress`; kExhausted when the disk is full; kIo. After an error the file is gone.
Result<AtomicFile> quantize_model(const GgufFile& model, AtomicFile file,
                                  const QuantizeOptions& options, const QuantizationPlan& plan,
                                  const Progress& progress = {});

}  // namespace gogrid

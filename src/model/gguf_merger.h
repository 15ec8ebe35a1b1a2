// One file of a model that lies in several.
#pragma once

#include "base/files.h"
#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_file.h"

namespace gogrid {

// Writes keys and tensors of `source`, in their order, as one GGUF into `file`, which must be
// empty; the tensors' bytes are those of the parts. `progress` counts bytes of tensors. kIo,
// kCancelled by `progress`.
Result<AtomicFile> write_merged(const GgufFile& source, AtomicFile file, const Progress& progress);

}  // namespace gogrid

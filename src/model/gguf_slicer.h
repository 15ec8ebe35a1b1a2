// A layer range as a GGUF of its own (docs/slice-format.md): what makes stock libllama run a part
// of a model.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_file.h"
#include "model/layer_range.h"
#include "model/quantization_types.h"

namespace gogrid {

// Part of a slice's name in the cache: raise it whenever write_slice() writes other bytes.
inline constexpr std::uint32_t kSliceFormatVersion = 1;

// Writes the slice of `source` that holds `range` to `target`, aside and renamed.
// kInvalidArgument "[gguf_slicer] layers 8-16: model has 12 layers", kUnsupported for an
// architecture without a `blk.N.` layout, kIo, kCancelled by `progress`. `range` must respect the
// model's pattern (ModelProfile::allowed_cuts): not checked here.
//
// `type`: of its weights, where they are to be smaller than the model's own (type_in_slice() says
// which of them); kCorrupt, by the tensor's name, where one of them is no number. Works on all
// cores; `progress` is asked every few MiB.
Status write_slice(const GgufFile& source, LayerRange range, const std::filesystem::path& target,
                   const Progress& progress = {}, const std::optional<WeightType>& type = {});

// Bytes of the file that write_slice() would write; the same refusals.
Result<Bytes> slice_size(const GgufFile& source, LayerRange range,
                         const std::optional<WeightType>& type = {});

}  // namespace gogrid

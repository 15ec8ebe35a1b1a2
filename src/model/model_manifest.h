// What the library writes down about a named model: a few lines of text. Private to the library.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/model_library.h"

namespace gogrid {

// Everything but name and path, which follow from where the manifest is. Example:
//   gogrid-model 1
//   digest ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
//   size 98362432
//   imported_at 1763900000
//   architecture llama
//   quantization q4_1
//   license apache-2.0
// Values reach to the end of the line; control characters in them become spaces. Behind these come
// lines that not every model has, each a key and its values; keys that are not known, which
// later versions write, are passed over:
//   loss DIGEST TEXT CONTEXT POSITIONS BASE-PPL PPL MEAN-KL P99-KL SAME-TOP NAME
//   repacked TENSORS MEAN WORST WORST-TENSOR FROM
std::string format_manifest(const ModelEntry& entry);

// kCorrupt "[model_library] WHERE: …" unless all of the first are there, once each and in order.
// What may be absent and cannot be read is as if it were absent, with a warning in the log: it must
// not cost the model.
Result<ModelEntry> parse_manifest(std::string_view text, std::string_view where);

// The content that a manifest tells of, whatever else is wrong with it; empty when it does not say.
std::optional<std::string> manifest_digest(std::string_view text);

}  // namespace gogrid

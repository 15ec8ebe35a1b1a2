// LoRA adapters: low-rank changes to the matrices of a base model (Hu et al. 2021,
// arXiv:2106.09685), in a GGUF as convert_lora_to_gguf.py writes it. To W·x comes scale · alpha /
// rank · B·(A·x).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "base/units.h"
#include "model/gguf_file.h"
#include "model/layer_range.h"
#include "model/model_profile.h"

namespace gogrid {

// An adapter that is to be applied to a model.
struct AdapterSource {
  std::filesystem::path path;  // GGUF
  float scale = 1.0F;          // of what it adds
};

// What an adapter adds to a base model, stage by stage.
struct LoraAdapter {
  float alpha = 0.0F;
  std::uint32_t rank = 0;          // the highest
  std::uint64_t matrices = 0;      // that are changed
  std::vector<Bytes> layer_bytes;  // per layer of the base
  Bytes head_bytes = 0;            // of output.weight
  std::uint32_t widest = 0;  // numbers a row, of A·x and of what is added, of all experts used
};

// Whether a file is an adapter, of whatever kind, and no model.
bool is_adapter(const GgufFile& file);

// Checks that `adapter` changes `base` and nothing else. kUnsupported, by what it is, for another
// kind of adapter, and for changes that libllama would pass over or cannot make in a part of a
// model; kInvalidArgument where it is for another base: which tensor, expected, came; kCorrupt for
// half a pair, or a rank that the halves do not share. Linear in both headers.
Result<LoraAdapter> read_adapter(const GgufFile& adapter, const GgufFile& base,
                                 const ModelProfile& profile);

// Makes `profile`, of `base`, that of both together, for planning. The errors of the file and of
// read_adapter().
Status add_adapter(ModelProfile& profile, const GgufFile& base,
                   const std::filesystem::path& adapter);

// The adapter of a stage with these layers, numbered as its slice numbers them; `last`: with the
// model's head. A temporary file in `folder`, which goes with what is returned; empty where the
// adapter changes nothing of the stage. Of an adapter that read_adapter() found no fault in.
Result<std::optional<AtomicFile>> write_adapter_slice(const GgufFile& adapter, LayerRange layers,
                                                      bool last,
                                                      const std::filesystem::path& folder);

}  // namespace gogrid

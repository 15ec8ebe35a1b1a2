// A folder in the Hugging Face layout (config.json, safetensors, tokenizer files) as a GGUF.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "base/sha256.h"
#include "model/repack_record.h"
#include "model/weight_conversion.h"

namespace gogrid {

struct HfImportOptions {
  std::string name;                // general.name
  std::optional<StoredType> type;  // none: the weights' own, F16 for those of 32 bits
  // Of weights that GPTQ or AWQ packed: a ggml_type. None: `type`; where that is none too,
  // natural_type() of packed_conversion.h.
  std::optional<std::uint32_t> packed_type = {};
};

struct HfImported {
  AtomicFile file;                       // to be committed
  std::optional<RepackRecord> repacked;  // of packed or scaled weights: what they lost
};

// Checked and planned when opened; writing reads the weights only. Nothing of the folder is run.
// Immutable after open(); not thread-safe.
class HfImporter {
 public:
  // kNotFound for a folder without the files that it needs; kUnsupported, by name, for an
  // architecture, a tokenizer, a quantization or a kind of model that is not imported; kCorrupt for
  // files that are broken or disagree; kInvalidArgument for a packed_type where nothing is packed,
  // or whose blocks do not fit.
  static Result<HfImporter> open(const std::filesystem::path& folder,
                                 const HfImportOptions& options);
  HfImporter(HfImporter&&) noexcept;
  ~HfImporter();

  // What whoever imports it should know, a sentence each.
  const std::vector<std::string>& notes() const;
  StoredType type() const;

  // Writes the model into `file`, which must be empty. kCorrupt for weights that are no numbers,
  // kInvalidArgument for such as the type does not hold, kIo, kCancelled by `progress`.
  Result<HfImported> write(AtomicFile file, const Progress& progress) const;

 private:
  struct State;
  explicit HfImporter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid

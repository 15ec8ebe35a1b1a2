// The models this node has: a folder of content-addressed GGUF files and the names given to them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/result.h"
#include "base/sha256.h"
#include "base/units.h"
#include "model/model_loss.h"
#include "model/repack_record.h"

namespace gogrid {

class GgufFile;

struct ModelEntry {
  std::string name;    // [a-z0-9][a-z0-9._-]{0,62}: never a path
  std::string digest;  // SHA-256 of the file
  std::filesystem::path path;
  Bytes size = 0;
  // Printable, on one line, of at most 256 bytes.
  std::string architecture;
  std::string quantization;            // the most common weight type: "q4_1"
  std::string license;                 // general.license, "unknown" when the file does not say
  std::int64_t imported_at = 0;        // seconds since the epoch
  std::optional<ModelLoss> loss = {};  // the last that was measured
  std::optional<RepackRecord> repacked = {};  // of packed or scaled weights
};

// Thread-safe; several processes may share a folder. Nothing is under its final name before it is
// whole and on the disk.
class ModelLibrary {
 public:
  // `folder` is created if absent; leftovers of a crash are removed.
  static Result<ModelLibrary> open(std::filesystem::path folder);
  ModelLibrary(ModelLibrary&&) noexcept;
  ~ModelLibrary();

  // Checks the file with GgufFile, copies it (sharing blocks where it can) while hashing, and names
  // it. Importing the same content under another name costs nothing. kInvalidArgument for a bad
  // name, or a name in use by other content; `expected_digest` (if not empty) must match: kCorrupt
  // otherwise. The first part of a split model stands for all, which are merged into one file on
  // the way; that has a digest of its own, so that none can be expected.
  Result<ModelEntry> import_file(const std::filesystem::path& file, std::string_view name,
                                 std::string_view expected_digest = {},
                                 const Progress& progress = {});
  // As import_file() for a file in incoming(), whose SHA-256 is `digest` as the caller has just
  // read it: it is moved, and has one name at any moment. After an error, and after a crash at any
  // moment but the last, it is where it was, and another call goes on.
  Result<ModelEntry> adopt_file(const std::filesystem::path& file, std::string_view name,
                                std::string_view digest);
  // A folder beside the models, in the same file system, for files on their way here. Whoever puts
  // one there looks after it.
  std::filesystem::path incoming() const;
  // A model of this content, under whatever name.
  std::optional<ModelEntry> find_digest(std::string_view digest) const;
  // For a model that is written right here: where to write it, and its import without a copy. As
  // import_file(); other content under that name is found before anything is written. `repacked` is
  // kept with the name. `digest`: of all of the file, where the caller has read it back; else it is
  // read here.
  Result<AtomicFile> begin(std::string_view name) const;
  Result<ModelEntry> import_written(AtomicFile written, std::string_view name,
                                    const Progress& progress = {},
                                    const std::optional<RepackRecord>& repacked = {},
                                    std::string digest = {});
  // Keeps what was measured of the model, in place of what was measured before. kUnavailable when
  // the name is of other content than `digest` by now; kInvalidArgument for numbers that are not
  // finite.
  Status record_loss(std::string_view name, std::string_view digest, const ModelLoss& loss);
  std::vector<ModelEntry> list() const;
  // kNotFound with the nearest names.
  Result<ModelEntry> find(std::string_view name) const;
  // Reads every byte again; kCorrupt when the digest differs.
  Status verify(std::string_view name, const Progress& progress = {}) const;
  // Removes the name, and the content when no other name uses it.
  Status remove(std::string_view name);

 private:
  struct State;
  explicit ModelLibrary(std::unique_ptr<State> state);
  Result<ModelEntry> import_parts(const GgufFile& source, std::string_view name,
                                  std::string_view expected_digest, const Progress& progress);
  std::unique_ptr<State> state_;
};

// Whether `name` may name a model; kInvalidArgument says what a name looks like.
Status validate_model_name(std::string_view name);

}  // namespace gogrid

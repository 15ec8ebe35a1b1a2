// The data folder: where models, slices and measurements live, and how a MODEL argument is found in
// it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "app/model_argument.h"
#include "base/result.h"
#include "base/sha256.h"
#include "model/lora_adapter.h"
#include "model/model_library.h"

namespace gogrid {

// A model file and what identifies it.
struct ModelSource {
  std::string name;
  std::filesystem::path path;
  // SHA-256 of the file, or of the digests of its parts; empty where nobody has read all of it yet.
  std::string digest;
  std::optional<AdapterSource> adapter = {};  // over it; no part of the digest
};

// Immutable; thread-safe.
class Workspace {
 public:
  // See data_folder() for an empty `flag`. Makes the folders, and removes what a crash left in
  // them half written.
  static Result<Workspace> open(const std::filesystem::path& flag);

  std::filesystem::path slices() const { return root_ / "slices"; }
  std::filesystem::path measurements() const { return root_ / "measurements"; }
  // For files that go with the process.
  std::filesystem::path scratch() const { return root_; }
  std::filesystem::path policy_file() const { return root_ / "policy.json"; }
  Result<ModelLibrary> library() const { return ModelLibrary::open(root_ / "models"); }

  // A library name, or the path of a file, or of the first part of several. The digest of a path is
  // remembered by the file's identity (device, inode, size, time of change); `progress` reports
  // hashing.
  Result<ModelSource> find(std::string_view model, const Progress& progress = {}) const;
  // The same without reading the file: its digest is empty unless it is remembered.
  Result<ModelSource> locate(std::string_view model) const;
  // The same for what is to run, which may name an adapter too (parse_model_argument()): each a
  // library name or a path. Its name is that of both, "base+adapter".
  Result<ModelSource> find_to_run(std::string_view model, const Progress& progress = {}) const;
  Result<ModelSource> locate_to_run(std::string_view model) const;

 private:
  explicit Workspace(std::filesystem::path root) : root_(std::move(root)) {}
  Status add_adapter(ModelSource& base, const ModelArgument& argument) const;
  Result<std::filesystem::path> memory_of(const std::filesystem::path& file) const;
  Result<std::string> digest_of(const std::filesystem::path& file, const Progress& progress) const;

  std::filesystem::path root_;
};

// A name that the library would accept, made from a file's: "SmolLM2-135M.Q4_1.gguf" ->
// "smollm2-135m.q4_1", "big-00001-of-00003.gguf" -> "big".
std::string name_from_file(const std::filesystem::path& file);

}  // namespace gogrid

// The weights of a folder in the Hugging Face layout: model.safetensors, or the shards that
// model.safetensors.index.json names.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/safetensors_file.h"

namespace gogrid {

struct ShardTensor {
  const SafetensorsTensor* info = nullptr;
  const SafetensorsFile* file = nullptr;

  std::string_view name() const { return info->name; }
  std::span<const std::byte> data() const { return file->data(*info); }
};

// Immutable; thread-safe. What it hands out lives as long as it does.
class SafetensorsFolder {
 public:
  // `stem` is what the files are called instead of "model", a name and no path.
  // kNotFound when the folder has no safetensors; kUnsupported when it has weights in a format that
  // can run code only; kCorrupt when shards and index disagree, or a shard is broken.
  static Result<SafetensorsFolder> open(const std::filesystem::path& folder,
                                        std::string_view stem = "model");

  // Of all shards, sorted by name.
  std::span<const ShardTensor> tensors() const { return tensors_; }
  // Null when absent.
  const ShardTensor* tensor(std::string_view name) const;

 private:
  Status add_shard(const std::filesystem::path& path);
  Status add_indexed(const std::filesystem::path& folder, const std::filesystem::path& index);
  Status sort_tensors(const std::filesystem::path& folder);

  std::vector<std::unique_ptr<const SafetensorsFile>> files_;
  std::vector<ShardTensor> tensors_;
};

}  // namespace gogrid

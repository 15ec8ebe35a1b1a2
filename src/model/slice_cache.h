// Slices of models, kept on disk between runs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "model/gguf_slicer.h"

namespace gogrid {

// Slices are named by what they contain: SHA-256 of (the source's digest, range, slicer version,
// and the type of the weights where it is not the model's own).
// Bounded: the least recently used go first, never one that is held. Thread-safe; several processes
// may share a folder: one at a time makes or evicts slices (a lock file), and a held slice carries
// a shared lock.
class SliceCache {
 public:
  // Keeps a slice from being evicted while it lives.
  class Hold;

  // `folder` is created with the first slice; `capacity`: bytes on disk, 0 means no bound.
  SliceCache(std::filesystem::path folder, Bytes capacity);

  // The slice's path, made if absent or damaged. `source_digest`: SHA-256 of the source file. The
  // hold shares the life of the stage that loads it. Waits while another thread or process makes a
  // slice. As write_slice(), and kInvalidArgument for something that is no digest, kDoesNotFit when
  // the slice is larger than the capacity, kExhausted when held slices leave no room for it now.
  // `type`: of its weights, as write_slice().
  Result<std::shared_ptr<const Hold>> get(const GgufFile& source, std::string_view source_digest,
                                          LayerRange range, const Progress& progress = {},
                                          const std::optional<WeightType>& type = {}) const;
  // Gives the slice up, and its place on the disk too, unless somebody else holds it.
  static void forget(std::shared_ptr<const Hold> hold);

 private:
  Result<std::shared_ptr<const Hold>> take(const std::filesystem::path& path, LayerRange range,
                                           const std::optional<WeightType>& type) const;
  Status make_room(Bytes needed) const;

  const std::filesystem::path folder_;
  const Bytes capacity_;
};

class SliceCache::Hold {
 public:
  Hold(std::filesystem::path path, FileDescriptor locked)
      : path_(std::move(path)), locked_(std::move(locked)) {}
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
  const FileDescriptor locked_;  // shared flock on the slice
};

}  // namespace gogrid

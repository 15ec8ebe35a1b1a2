// A layer range as a GGUF of its own (docs/slice-format.md): what makes stock libllama run a part
// of a model.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "base/sha256.h"
#include "model/gguf_file.h"
#include "model/layer_range.h"

namespace gogrid {

// Part of a slice's name in the cache: raise it whenever write_slice() writes other bytes.
inline constexpr std::uint32_t kSliceFormatVersion = 1;

// Writes the slice of `source` that holds `range` to `target`, aside and renamed.
// kInvalidArgument "[gguf_slicer] layers 8-16: model has 12 layers", kUnsupported for an
// architecture without a `blk.N.` layout, kIo, kCancelled by `progress`. `range` must respect the
// model's pattern (ModelProfile::allowed_cuts): not checked here.
Status write_slice(const GgufFile& source, LayerRange range, const std::filesystem::path& target,
                   const Progress& progress = {});

// Slices on disk, named by what they contain: SHA-256 of (the source's digest, range, slicer
// version). Bounded: the least recently used go first, never one that is held. Several processes
// may share a folder (a lock file). Thread-safe.
class SliceCache {
 public:
  // Keeps a slice from being evicted. Move-only.
  class Hold;

  // `capacity`: bytes on disk; 0 means no bound.
  SliceCache(std::filesystem::path folder, Bytes capacity);
  ~SliceCache();

  // The slice's path, made if absent. `source_digest`: SHA-256 of the source file. The hold shares
  // the life of the stage that loads it.
  Result<std::shared_ptr<const Hold>> get(const GgufFile& source, std::string_view source_digest,
                                          LayerRange range, const Progress& progress = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class SliceCache::Hold {
 public:
  Hold(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~Hold();
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
  const int fd_;  // shared flock on the slice while held
};

}  // namespace gogrid

// Files that are the parts of one model, under the names by which they find each other.
#pragma once

#include <filesystem>
#include <span>

#include "base/result.h"

namespace gogrid {

// A folder of symbolic links "model-00001-of-00003.gguf", which GgufFile::open() reads as one
// model. Gone with this; what a crash left is removed by the next of the same name. Move-only.
class PartLinks {
 public:
  // `files`: of the parts, in their order. kIo.
  static Result<PartLinks> make(const std::filesystem::path& folder,
                                std::span<const std::filesystem::path> files);
  PartLinks(PartLinks&& other) noexcept;
  PartLinks& operator=(PartLinks&& other) noexcept;
  ~PartLinks();

  const std::filesystem::path& first() const { return first_; }

 private:
  PartLinks() = default;

  std::filesystem::path folder_;
  std::filesystem::path first_;
};

}  // namespace gogrid

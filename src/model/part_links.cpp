#include "model/part_links.h"

#include <system_error>
#include <utility>

#include "base/file_descriptor.h"
#include "base/format.h"
#include "model/split_file.h"

namespace gogrid {

namespace fs = std::filesystem;

Result<PartLinks> PartLinks::make(const fs::path& folder, std::span<const fs::path> files) {
  std::error_code error;
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) return file_error("create", folder, error.value());
  PartLinks links;
  links.folder_ = folder;
  links.first_ = folder / format_text("model-00001-of-{:05}.gguf", files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    const fs::path link = path_of_part(links.first_, i + 1);
    fs::create_symlink(fs::absolute(files[i]), link, error);
    if (error) return file_error("link", link, error.value());
  }
  return links;
}

PartLinks::PartLinks(PartLinks&& other) noexcept
    : folder_(std::exchange(other.folder_, {})), first_(std::exchange(other.first_, {})) {}

PartLinks& PartLinks::operator=(PartLinks&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(first_, other.first_);
  return *this;
}

PartLinks::~PartLinks() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

}  // namespace gogrid

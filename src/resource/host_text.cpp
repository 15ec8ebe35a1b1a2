#include "resource/host_text.h"

#include "base/files.h"

namespace gogrid {

std::unexpected<std::string> not_known(std::string_view part, std::string_view why) {
  return std::unexpected("[load] " + std::string(part) + ": " + std::string(why));
}

Reading<std::string> read_text(const std::filesystem::path& path, std::size_t limit) {
  auto text = read_head(path, limit);
  if (!text) return std::unexpected(text.error().message);
  return *std::move(text);
}

}  // namespace gogrid

#include "resource/io_scheduler.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <system_error>

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxText = 1024;

}  // namespace

Reading<std::string> parse_io_scheduler(std::string_view text) {
  const std::size_t open = text.find('[');
  const std::size_t close = text.find(']');
  if (open == text.npos || close == text.npos || close <= open + 1)
    return std::unexpected("expected one name in brackets: got '" + excerpt(text) + "'");
  return std::string(text.substr(open + 1, close - open - 1));
}

Reading<std::string> io_scheduler(unsigned major, unsigned minor, const fs::path& root) {
  const std::string number = std::to_string(major) + ":" + std::to_string(minor);
  const fs::path disk = root / "sys/dev/block" / number;
  std::error_code absent;
  if (!fs::exists(disk, absent))
    return std::unexpected("the file system is on no disk of its own (device " + number + ")");
  // A partition's folder is within its disk's, to which the number is a link.
  for (const fs::path& queue : {disk / "queue", fs::weakly_canonical(disk, absent) / "../queue"}) {
    if (const auto text = read_text(queue / "scheduler", kMaxText))
      return parse_io_scheduler(*text);
  }
  return std::unexpected("disk " + number + " does not tell its scheduler");
}

Reading<std::string> io_scheduler_of(const fs::path& folder) {
  struct stat found{};
  if (::stat(folder.c_str(), &found) != 0)
    return std::unexpected(folder.string() + ": " + std::generic_category().message(errno));
  return io_scheduler(major(found.st_dev), minor(found.st_dev));
}

bool heeds_io_class(std::string_view scheduler) {
  return scheduler == "bfq" || scheduler == "mq-deadline";
}

}  // namespace gogrid

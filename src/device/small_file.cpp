#include "device/small_file.h"

#include "base/files.h"
#include "base/text.h"

namespace gogrid {

Result<std::string> read_small_file(const std::filesystem::path& path, Bytes limit) {
  GOGRID_ASSIGN_OR_RETURN(std::string content, read_head(path, limit + 1));
  if (content.size() <= limit) return content;
  return fail(ErrorCode::kTooLarge, "[files] expected at most " + format_bytes(limit) + ": " +
                                        path.string() + " is larger");
}

std::string small_text(const std::filesystem::path& path) {
  const auto content = read_small_file(path);
  return content ? std::string(trimmed(*content)) : std::string();
}

Result<std::int64_t> read_number(const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const std::string content, read_small_file(path));
  if (const auto number = parse_signed(trimmed(content))) return *number;
  return fail(ErrorCode::kCorrupt,
              "[sysfs] expected a number in " + path.string() + ": " + excerpt(content));
}

std::string uevent_value(std::string_view text, std::string_view key) {
  return std::string(field_of(text, std::string(key) + '=').value_or(""));
}

}  // namespace gogrid

#include "device/small_file.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "base/file_descriptor.h"

namespace gogrid {
namespace {

std::string_view without_end(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  return text.substr(0, last == text.npos ? 0 : last + 1);
}

}  // namespace

Result<std::string> read_small_file(const std::filesystem::path& path, Bytes limit) {
  GOGRID_ASSIGN_OR_RETURN(const FileDescriptor file, open_regular(path));
  std::string content(limit + 1, '\0');
  std::size_t size = 0;
  while (size < content.size()) {
    const auto rest = std::as_writable_bytes(std::span(content)).subspan(size);
    GOGRID_ASSIGN_OR_RETURN(const std::size_t got, file.read(rest, path));
    if (got == 0) break;
    size += got;
  }
  if (size > limit) {
    return fail(ErrorCode::kTooLarge, "[files] expected at most " + format_bytes(limit) + ": " +
                                          path.string() + " is larger");
  }
  content.resize(size);
  return content;
}

std::string small_text(const std::filesystem::path& path) {
  const auto content = read_small_file(path);
  return content ? std::string(without_end(*content)) : std::string();
}

Result<std::int64_t> read_number(const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const std::string content, read_small_file(path));
  return parse_number(content, path.native());
}

Result<std::int64_t> parse_number(std::string_view text, std::string_view where) {
  const std::string_view digits = without_end(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc() && end == digits.data() + digits.size()) return value;
  return fail(ErrorCode::kCorrupt, "[sysfs] expected a number in " + std::string(where) + ": \"" +
                                       std::string(digits.substr(0, 40)) + "\"");
}

std::string uevent_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=') {
      return std::string(line.substr(key.size() + 1));
    }
  }
  return {};
}

}  // namespace gogrid

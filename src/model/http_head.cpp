#include "model/http_head.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"

namespace gogrid {
namespace {

constexpr Bytes kMaxHead = 64 * kKiB;
constexpr std::size_t kMaxShown = 256;
constexpr Bytes kMaxFile = Bytes{1} << 62;  // so that an end that is exclusive does not wrap

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

// "HTTP/1.1 206 Partial Content" -> 206.
int status_in(std::string_view line) {
  next_word(line);
  return static_cast<int>(std::min<std::uint64_t>(parse_number(next_word(line)).value_or(0), 999));
}

}  // namespace

std::string HttpHead::validator() const {
  // A weak ETag (W/) only says that two versions mean the same, not that their bytes are.
  if (!etag.empty() && !etag.starts_with("W/")) return etag;
  return last_modified;
}

bool HttpHeadReader::line(std::string_view line) {
  bytes_ += line.size();
  if (bytes_ > kMaxHead) return false;
  line = trimmed(line);
  if (line.starts_with("HTTP/")) {
    head_ = HttpHead{};
    head_.status = status_in(line);
    return true;
  }
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return true;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (same_word(name, "content-length")) head_.content_length = parse_number(value);
  if (same_word(name, "location")) head_.location = value;
  if (same_word(name, "link")) head_.link = value;
  const std::array<std::pair<std::string_view, std::string*>, 4> shown{
      {{"content-range", &head_.content_range},
       {"content-encoding", &head_.content_encoding},
       {"etag", &head_.etag},
       {"last-modified", &head_.last_modified}}};
  for (const auto& [known, field] : shown) {
    if (same_word(name, known)) *field = printable(value, kMaxShown);
  }
  return true;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == text.npos || slash == text.npos || slash < dash) return std::nullopt;
  const auto first = parse_number(text.substr(0, dash));
  const auto last = parse_number(text.substr(dash + 1, slash - dash - 1));
  const std::string_view size = text.substr(slash + 1);
  ContentRange result;
  if (size != "*") result.size = parse_number(size);
  if (!first || !last || *last < *first || *last >= kMaxFile) return std::nullopt;
  if (size != "*" && (!result.size || *result.size > kMaxFile || *last >= *result.size))
    return std::nullopt;
  result.range = {*first, *last + 1};
  return result;
}

}  // namespace gogrid

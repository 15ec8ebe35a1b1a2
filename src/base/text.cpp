#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace gogrid {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::size_t kExcerpt = 40;

template <class Number>
std::optional<Number> parse(std::string_view text) {
  Number number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text) {
  return parse<std::uint64_t>(text);
}

std::optional<std::int64_t> parse_signed(std::string_view text) {
  return parse<std::int64_t>(text);
}

std::string_view next_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

std::string_view next_word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(kBlanks), rest.size()));
  const std::size_t end = std::min(rest.find_first_of(kBlanks), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

std::optional<std::string_view> field_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    if (line.starts_with(key)) return trimmed(line.substr(key.size()));
  }
  return std::nullopt;
}

std::string excerpt(std::string_view text) {
  std::string_view rest = text;
  const std::string_view line = next_line(rest);
  std::string shown(line.substr(0, kExcerpt));
  const auto unprintable = [](char c) { return c < ' ' || c > '~'; };
  std::ranges::replace_if(shown, unprintable, '?');
  const bool cut = line.size() > kExcerpt;
  return '"' + shown + (cut ? "…\"" : "\"");
}

}  // namespace gogrid

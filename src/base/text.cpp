#include "base/text.h"

#include <algorithm>
#include <array>
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

// The character that `text` begins with (RFC 3629), and how many bytes it has; 0 bytes: none.
struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;
};

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  std::uint32_t code = lead & (0xFFU >> (bytes + 1));
  for (std::size_t at = 1; at < bytes; ++at) {
    if ((byte(at) & 0xC0U) != 0x80) return {};
    code = (code << 6U) | (byte(at) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kLeast[bytes] || code > 0x10FFFF || surrogate) return {};
  return {code, bytes};
}

bool commands_a_terminal(std::uint32_t code) {
  const auto within = [code](std::uint32_t first, std::uint32_t last) {
    return code >= first && code <= last;
  };
  return code < 0x20 || within(0x7F, 0x9F) || within(0x2028, 0x202E) || within(0x2066, 0x2069) ||
         within(0x200E, 0x200F);
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

std::string printable(std::string_view text, std::size_t most) {
  std::string shown;
  while (!text.empty()) {
    const Character next = first_character(text);
    const std::string_view shows = next.bytes == 0                  ? "?"
                                   : commands_a_terminal(next.code) ? " "
                                                                    : text.substr(0, next.bytes);
    if (shown.size() + shows.size() > most) break;
    shown += shows;
    text.remove_prefix(std::max<std::size_t>(next.bytes, 1));
  }
  return shown;
}

}  // namespace gogrid

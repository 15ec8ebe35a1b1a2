#include "model/template_text.h"

#include <algorithm>
#include <bitset>
#include <cstring>

#include "base/format.h"

namespace gogrid::jinja {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
char to_lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }
char to_upper(char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }

// Bytes of the character at the beginning of `text`; 1 where it is broken.
std::size_t character_size(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t size = first < 0xC2   ? 1
                           : first < 0xE0 ? 2
                           : first < 0xF0 ? 3
                           : first < 0xF5 ? 4
                                          : 1;
  if (size > text.size()) return 1;
  for (std::size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return size;
}

}  // namespace

std::vector<std::uint32_t> character_starts(std::string_view text, Budget& budget) {
  budget.spend_reading(text.size() * 4);
  budget.spend_bytes((text.size() + 1) * sizeof(std::uint32_t));  // more than 4 GiB never are
  std::vector<std::uint32_t> starts;
  starts.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size(); at += character_size(text.substr(at)))
    starts.push_back(static_cast<std::uint32_t>(at));
  starts.push_back(static_cast<std::uint32_t>(text.size()));
  return starts;
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += character_size(text.substr(at))) ++count;
  return count;
}

std::size_t find_text(std::string_view text, std::string_view part, std::size_t from,
                      Budget& budget) {
  if (from > text.size()) return text.npos;
  // memmem() is linear; std::string::find() takes the product of both lengths at worst.
  const char* begin = text.data() + from;
  const std::size_t size = text.size() - from;
  const void* found = part.size() == 1 ? std::memchr(begin, part[0], size)
                                       : ::memmem(begin, size, part.data(), part.size());
  const std::size_t at =
      found == nullptr ? text.npos
                       : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
  budget.spend_reading(2 * (std::min(at, text.size()) - from + part.size()));
  return at;
}

std::string_view strip(std::string_view text, std::string_view characters, Side side) {
  if (characters.empty()) characters = kSpace;
  std::bitset<256> wanted;
  for (const char c : characters) wanted.set(static_cast<unsigned char>(c));
  const auto goes = [&](char c) { return wanted.test(static_cast<unsigned char>(c)); };
  while (side != Side::kRight && !text.empty() && goes(text.front())) text.remove_prefix(1);
  while (side != Side::kLeft && !text.empty() && goes(text.back())) text.remove_suffix(1);
  return text;
}

std::string replace_text(std::string_view text, std::string_view before, std::string_view after,
                         std::int64_t limit, Budget& budget) {
  std::string out;
  std::size_t at = 0;
  for (; limit != 0; --limit) {
    const std::size_t found = find_text(text, before, at, budget);
    if (found == text.npos) break;
    budget.spend_steps();
    budget.spend_bytes(found - at + after.size());
    out.append(text, at, found - at).append(after);
    at = found + before.size();
  }
  return out.append(text, at);
}

std::vector<std::string_view> split_text(std::string_view text, std::string_view separator,
                                         std::int64_t limit, Budget& budget) {
  std::vector<std::string_view> parts;
  const bool by_space = separator.empty();
  if (by_space) text = strip(text, {}, Side::kLeft);
  for (; limit != 0 && !(by_space && text.empty()); --limit) {
    const std::size_t found =
        by_space ? text.find_first_of(kSpace) : find_text(text, separator, 0, budget);
    if (found == text.npos) break;
    budget.spend_steps();
    parts.push_back(text.substr(0, found));
    text.remove_prefix(found + std::max<std::size_t>(separator.size(), 1));
    if (by_space) text = strip(text, {}, Side::kLeft);
  }
  if (by_space) text = strip(text, {}, Side::kRight);
  if (!by_space || !text.empty()) parts.push_back(text);
  return parts;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), to_lower);
  return out;
}
std::string upper_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), to_upper);
  return out;
}
std::string capitalized(std::string_view text) {
  std::string out = lower_case(text);
  if (!out.empty()) out.front() = to_upper(out.front());
  return out;
}
std::string title_case(std::string_view text) {
  std::string out = lower_case(text);
  bool begins = true;
  for (char& c : out) {
    if (begins) c = to_upper(c);
    begins = !is_lower(c) && !is_upper(c) && static_cast<unsigned char>(c) < 0x80;
  }
  return out;
}

const Value* ArgumentReader::get(std::size_t place, std::string_view name) const {
  const Value* found = nullptr;
  if (place < arguments_.positional.size()) {
    found = &arguments_.positional[place];
  } else {
    const auto named = std::ranges::find(arguments_.named, name, &Entry::name);
    if (named != arguments_.named.end()) found = &named->value;
  }
  const bool absent =
      found == nullptr || is_undefined(*found) || std::holds_alternative<None>(*found);
  return absent ? nullptr : found;
}

void ArgumentReader::refuse(std::string_view name, std::string_view wanted) const {
  throw TemplateError(format_text("'{}' takes {} as '{}'", what_, wanted, name));
}

const std::string& ArgumentReader::text(std::size_t place, std::string_view name) const {
  const Value* value = get(place, name);
  if (value == nullptr || text_of(*value) == nullptr) refuse(name, "a string");
  return *text_of(*value);
}
std::string_view ArgumentReader::text_or(std::size_t place, std::string_view name,
                                         std::string_view otherwise) const {
  return get(place, name) == nullptr ? otherwise : std::string_view(text(place, name));
}
std::int64_t ArgumentReader::integer_or(std::size_t place, std::string_view name,
                                        std::int64_t otherwise) const {
  const Value* value = get(place, name);
  if (value == nullptr) return otherwise;
  if (const auto* flag = std::get_if<bool>(value)) return *flag ? 1 : 0;
  const auto* number = std::get_if<std::int64_t>(value);
  if (number == nullptr) refuse(name, "an integer");
  return *number;
}
bool ArgumentReader::flag_or(std::size_t place, std::string_view name, bool otherwise) const {
  const Value* value = get(place, name);
  return value == nullptr ? otherwise : truthy(*value);
}

}  // namespace gogrid::jinja

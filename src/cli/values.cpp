#include "cli/values.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <optional>

namespace gogrid {
namespace {

constexpr std::size_t kDigestDigits = 64;
constexpr std::size_t kMaxShown = 80;

// All of `text` as a T, in plain decimal notation.
template <class T>
std::optional<T> number_of(const std::string& text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::string expected(const std::string& what, const std::string& came) {
  const bool whole = came.size() <= kMaxShown;
  return "expected " + what + ": " + (whole ? came : came.substr(0, kMaxShown) + "...");
}

std::string shown(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

// Without a description: the range stands in the option's help, in words.
CLI::Validator check(std::function<std::string(std::string&)> says_what_is_wrong) {
  return {std::move(says_what_is_wrong), ""};
}

}  // namespace

CLI::Validator whole_number(std::uint64_t low, std::uint64_t high) {
  return check([=](const std::string& text) -> std::string {
    const auto value = number_of<std::uint64_t>(text);
    if (value && *value >= low && *value <= high) return {};
    return expected("a whole number " + std::to_string(low) + ".." + std::to_string(high), text);
  });
}

CLI::Validator real_number(double low, double high) {
  return check([=](const std::string& text) -> std::string {
    const auto value = number_of<double>(text);
    if (value && *value >= low && *value <= high) return {};  // false for NaN
    return expected("a number " + shown(low) + ".." + shown(high), text);
  });
}

CLI::Validator one_of(std::vector<std::string> words) {
  return check([words = std::move(words)](const std::string& text) -> std::string {
    if (std::ranges::contains(words, text)) return {};
    std::string list;
    for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
    return expected(words.size() == 1 ? list : "one of " + list, text);
  });
}

CLI::Validator hex_digest() {
  return check([](const std::string& text) -> std::string {
    const bool hex = text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
    if (hex && text.size() == kDigestDigits) return {};
    return expected("64 hexadecimal digits", text);
  });
}

}  // namespace gogrid

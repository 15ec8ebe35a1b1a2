#include "base/units.h"

#include <array>
#include <charconv>
#include <cstdio>

namespace gogrid {
namespace {

struct Unit {
  std::string_view suffix;
  Bytes factor;
};
constexpr std::array<Unit, 5> kUnits{
    {{"TiB", kGiB << 10}, {"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}, {"B", 1}}};

std::unexpected<Error> bad_size(std::string_view text) {
  return fail(ErrorCode::kInvalidArgument,
              "expected a size like 512MiB or 8GiB: '" + std::string(text) + "'");
}

// The digits after a decimal point as a share of `factor`, rounded down; empty when they are not
// digits.
std::optional<Bytes> fraction_of(std::string_view digits, Bytes factor) {
  if (digits.empty() || digits.size() > 9) return std::nullopt;
  Bytes numerator = 0;
  Bytes denominator = 1;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    numerator = numerator * 10 + static_cast<Bytes>(c - '0');
    denominator *= 10;
  }
  __extension__ using Wide = unsigned __int128;
  return static_cast<Bytes>(Wide{factor} * numerator / denominator);
}

}  // namespace

std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

std::optional<std::uint64_t> align_up(std::uint64_t value, std::uint64_t alignment) {
  const auto padded = checked_add(value, alignment - 1);
  if (!padded) return std::nullopt;
  return *padded & ~(alignment - 1);
}

Result<Bytes> parse_bytes(std::string_view text) {
  std::string_view number = text;
  Bytes factor = 1;
  for (const Unit& unit : kUnits) {
    if (number.ends_with(unit.suffix)) {
      number.remove_suffix(unit.suffix.size());
      factor = unit.factor;
      break;
    }
  }
  Bytes whole = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), whole);
  if (error != std::errc{}) return bad_size(text);
  const auto scaled = checked_mul(whole, factor);
  if (!scaled) return bad_size(text);
  const std::string_view rest(end, static_cast<std::size_t>(number.data() + number.size() - end));
  if (rest.empty()) return *scaled;
  if (rest.front() != '.') return bad_size(text);
  const auto fraction = fraction_of(rest.substr(1), factor);
  if (!fraction) return bad_size(text);
  const auto total = checked_add(*scaled, *fraction);
  if (!total) return bad_size(text);
  return *total;
}

std::string format_bytes(Bytes bytes) {
  for (const Unit& unit : kUnits) {
    if (bytes < unit.factor || unit.factor == 1) continue;
    char text[32];
    std::snprintf(text, sizeof text, "%.1f %.3s",
                  static_cast<double>(bytes) / static_cast<double>(unit.factor),
                  unit.suffix.data());
    return text;
  }
  return std::to_string(bytes) + " B";
}

}  // namespace gogrid

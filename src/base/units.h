// Sizes in bytes, exact in 64 bits, and arithmetic that cannot wrap unseen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gogrid {

using Bytes = std::uint64_t;
inline constexpr Bytes kKiB = Bytes{1} << 10;
inline constexpr Bytes kMiB = Bytes{1} << 20;
inline constexpr Bytes kGiB = Bytes{1} << 30;

// Empty on overflow.
std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b);
std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b);

// Rounds up to a multiple of `alignment` (a power of two); empty on overflow.
std::optional<std::uint64_t> align_up(std::uint64_t value, std::uint64_t alignment);

// "512MiB", "8GiB", "1024" (bytes), "1.5GiB". Binary units KiB, MiB, GiB, TiB, or B.
// kInvalidArgument otherwise.
Result<Bytes> parse_bytes(std::string_view text);

// "8.0 GiB", "98.4 MiB", "312 B": for people; never parsed back.
std::string format_bytes(Bytes bytes);

}  // namespace gogrid

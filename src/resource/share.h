// Shares are whole millionths: no limit is computed in floating point.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "base/units.h"

namespace gogrid {

// 0..1. A value.
class Share {
 public:
  static constexpr std::uint32_t kWhole = 1'000'000;

  constexpr Share() = default;
  // At most kWhole; more is the whole.
  static constexpr Share of_millionths(std::uint32_t millionths) {
    return Share(millionths < kWhole ? millionths : kWhole);
  }
  // The nearest millionth; empty for what is not a number, or not within 0..1.
  static std::optional<Share> of(double number);

  constexpr std::uint32_t millionths() const { return millionths_; }
  constexpr double number() const { return static_cast<double>(millionths_) / kWhole; }

  // floor(total × share): exact and monotone in both up to 2^64 - 1.
  Bytes floor_of(Bytes total) const { return share_of(total, millionths_); }

  constexpr auto operator<=>(const Share&) const = default;

 private:
  explicit constexpr Share(std::uint32_t millionths) : millionths_(millionths) {}
  std::uint32_t millionths_ = 0;
};

}  // namespace gogrid

// Shares are whole millionths: no limit is computed or compared in floating point.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <optional>

#include "base/units.h"

namespace gogrid {

// 0..1. A value. Sums and differences stay within it.
class Share {
 public:
  static constexpr std::uint32_t kWhole = 1'000'000;
  // Parts of anything that fits 64 bits, in any unit a million times as fine.
  __extension__ using Wide = unsigned __int128;

  constexpr Share() = default;
  // At most kWhole; more is the whole.
  static constexpr Share of_millionths(std::uint64_t millionths) {
    return Share(static_cast<std::uint32_t>(std::min<std::uint64_t>(millionths, kWhole)));
  }
  // Whole per cents; more than a hundred are a hundred.
  static constexpr Share percent(std::uint64_t percent) {
    return Share(static_cast<std::uint32_t>(std::min<std::uint64_t>(percent, 100)) *
                 (kWhole / 100));
  }
  // floor(part / whole), at most the whole; none of nothing. `whole` is below 2^108.
  static Share part_of(Wide part, Wide whole);
  // The nearest millionth; empty for what is not a number, or not within 0..1.
  static std::optional<Share> of(double number);

  constexpr std::uint32_t millionths() const { return millionths_; }
  constexpr double number() const { return static_cast<double>(millionths_) / kWhole; }

  // floor(total × share): exact and monotone in both up to 2^64 - 1.
  Bytes floor_of(Bytes total) const;

  friend constexpr Share operator+(Share a, Share b) {
    return of_millionths(std::uint64_t{a.millionths_} + b.millionths_);
  }
  friend constexpr Share operator-(Share a, Share b) {
    return Share(a.millionths_ - std::min(a.millionths_, b.millionths_));
  }
  constexpr auto operator<=>(const Share&) const = default;

 private:
  explicit constexpr Share(std::uint32_t millionths) : millionths_(millionths) {}
  std::uint32_t millionths_ = 0;
};

}  // namespace gogrid

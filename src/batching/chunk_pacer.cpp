#include "batching/chunk_pacer.h"

#include <algorithm>
#include <bit>

namespace gogrid {
namespace {

constexpr std::int32_t kShallow = 1024;
constexpr Duration::rep kMostGrowth = 4;     // of a price, to another depth
constexpr Duration::rep kFewAreDearer = 2;   // where it is not measured yet
constexpr Duration::rep kTilesPatience = 3;  // times the target

// Whole tiles and the row beside the others'.
std::uint32_t whole_tiles(std::uint32_t rows) {
  return rows - (rows - 1) % (ChunkPacer::kTile - 1);
}

std::uint32_t fitting(Duration target, Duration price, std::uint32_t least, std::uint32_t most) {
  const auto rows = static_cast<std::uint64_t>(target / price);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rows, std::min(least, most), most));
}

}  // namespace

std::size_t ChunkPacer::place_of(std::int32_t depth) {
  const auto times = static_cast<std::uint32_t>(std::max(depth, 0) / kShallow);
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(times)), kDepths - 1);
}

std::optional<std::size_t> ChunkPacer::measured_below(const Prices& prices, std::size_t end) {
  while (end-- > 0) {
    if (prices[end].row > Duration(0)) return end;
  }
  return std::nullopt;
}

Duration ChunkPacer::price(const Prices& prices, std::int32_t depth) {
  const auto last = measured_below(prices, place_of(depth) + 1);
  if (!last) return Duration(0);
  const Price& known = prices[*last];
  const auto before = measured_below(prices, *last);
  if (!before) return known.row;
  const Price& base = prices[*before];
  // Two neighbours say little about a slope.
  const std::int32_t distance = std::max(known.depth - base.depth, kShallow);
  const Duration slope = std::max((known.row - base.row) / distance, Duration(0));
  return std::clamp(known.row + slope * (depth - known.depth), known.row / kMostGrowth,
                    known.row * kMostGrowth);
}

void ChunkPacer::took(std::uint32_t rows, std::int32_t depth, Duration duration) {
  // What reading the weights costs would be taken for the cost of the few rows.
  if (rows < kLeast) return;
  const std::size_t place = place_of(depth);
  const Duration now = std::max(duration / rows, Duration(1));
  Price& price = (rows < kTile ? in_few_ : in_tiles_)[place];
  const bool first = price.row == Duration(0);
  price.row = first ? now : (price.row + now) / 2;
  price.depth = first ? depth : price.depth + (depth - price.depth) / 2;
  // A row in a tile costs no more than alone; this ends a judgement of a slow moment, when tiles
  // are not tried any more.
  if (rows < kTile && in_tiles_[place].row > price.row) in_tiles_[place] = price;
}

std::uint32_t ChunkPacer::few_rows(Duration target, Duration price, std::uint32_t most) {
  return price == Duration(0) ? most : fitting(target, price, kLeast, most);
}

Duration ChunkPacer::price_in_few(std::int32_t depth) const {
  const Duration in_tile = price(in_tiles_, depth);
  const Duration measured = price(in_few_, depth);
  const bool here = in_few_[place_of(depth)].row > Duration(0);
  return std::max(measured, here ? in_tile : kFewAreDearer * in_tile);
}

std::uint32_t ChunkPacer::rest(std::int32_t depth, std::uint32_t patience) const {
  return few_rows(target_ * patience, price_in_few(depth), most_);
}

std::uint32_t ChunkPacer::rows(std::int32_t depth, std::uint32_t patience) const {
  const Duration target = target_ * patience;
  if (most_ < kTile) return few_rows(target, price(in_few_, depth), most_);
  // A row in a tile costs no more than alone.
  const Duration measured = price(in_tiles_, depth);
  const Duration in_tile = measured > Duration(0) ? measured : price(in_few_, depth);
  if (in_tile == Duration(0)) return kTile;
  const std::uint32_t fits = fitting(target, in_tile, kTile, most_);
  if (fits == most_) return most_;
  const std::uint32_t rows = whole_tiles(fits);
  const Duration stall = rows * in_tile;
  if (stall <= kTilesPatience * target) return rows;
  const Duration in_few = price_in_few(depth);
  const std::uint32_t few = few_rows(target, in_few, kTile - 1);
  return few * in_few * 2 <= stall ? few : rows;
}

}  // namespace gogrid

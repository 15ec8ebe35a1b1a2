#include "batching/chunk_pacer.h"

#include <algorithm>
#include <bit>

namespace gogrid {
namespace {

constexpr std::int32_t kShallow = 1024;
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

Duration ChunkPacer::price(const Prices& prices, std::int32_t depth) {
  for (std::size_t i = place_of(depth) + 1; i-- > 0;) {
    if (prices[i] > Duration(0)) return prices[i];
  }
  return Duration(0);
}

void ChunkPacer::took(std::uint32_t rows, std::int32_t depth, Duration duration) {
  // What reading the weights costs would be taken for the cost of the few rows.
  if (rows < kLeast) return;
  const std::size_t place = place_of(depth);
  const Duration now = std::max(duration / rows, Duration(1));
  Duration& price = (rows < kTile ? in_few_ : in_tiles_)[place];
  price = price == Duration(0) ? now : (price + now) / 2;
  // A row in a tile costs no more than alone; this ends a judgement of a slow moment, when tiles
  // are not tried any more.
  if (rows < kTile && in_tiles_[place] > price) in_tiles_[place] = price;
}

std::uint32_t ChunkPacer::rows(std::int32_t depth) const {
  const Duration in_tile = price(in_tiles_, depth);
  if (in_tile == Duration(0)) return std::min(kTile, most_);
  const std::uint32_t fits = fitting(target_, in_tile, kTile, most_);
  if (fits == most_) return most_;
  const std::uint32_t rows = whole_tiles(fits);
  const Duration stall = rows * in_tile;
  if (stall <= kTilesPatience * target_) return rows;
  const Duration in_few = std::max(price(in_few_, depth), in_tile);
  const std::uint32_t few = fitting(target_, in_few, kLeast, kTile - 1);
  return few * in_few * 2 <= stall ? few : rows;
}

}  // namespace gogrid

#include "batching/chunk_pacer.h"

#include <algorithm>

namespace gogrid {

void ChunkPacer::took(std::uint32_t rows, Duration duration) {
  // What reading the weights costs would be taken for the cost of the few rows.
  if (rows < kLeast) return;
  const Duration now = duration / rows;
  per_row_ = per_row_ == Duration(0) ? now : (per_row_ + now) / 2;
}

std::uint32_t ChunkPacer::rows() const {
  if (per_row_ <= Duration(0)) return most_;
  const auto fitting = static_cast<std::uint64_t>(target_ / per_row_);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(fitting, std::min(kLeast, most_), most_));
}

}  // namespace gogrid

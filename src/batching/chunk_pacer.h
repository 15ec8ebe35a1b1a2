// How much of a prompt a step may carry while others wait for their next token.
#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"

namespace gogrid {

// A chunk stalls the running streams for as long as it computes, and a row deep in a long prompt
// costs many times one at its beginning: so the bound is a time, and the rows follow from how long
// recent steps at that depth took.
//
// A tile of rows is another thing than a few: ggml's CPU attention takes a way of its own for 64
// rows of a sequence, where a row costs half as much (measured at 1024 and 2048 tokens). So rows
// come in whole tiles, there are two prices, and fewer rows than a tile only where a stall would be
// far too long and they at least halve it: they halve the prompt's speed, too. Pure; not
// thread-safe.
class ChunkPacer {
 public:
  // One more than 64: the first row may be computed beside the others' (libllama's batches are of
  // equal lengths).
  static constexpr std::uint32_t kTile = 65;
  // Fewer cost the reading of all weights each time.
  static constexpr std::uint32_t kLeast = 16;

  // Never more than `most` rows; a tile until something was measured. A tile may take three times
  // the target.
  ChunkPacer(std::uint32_t most, Duration target) : most_(most), target_(target) {}

  // A step of so many rows, prompts' and others', took so long; the longest of the prompts had
  // `depth` tokens computed.
  void took(std::uint32_t rows, std::int32_t depth, Duration duration);

  // For a prompt of which `depth` tokens are computed.
  std::uint32_t rows(std::int32_t depth) const;

 private:
  static constexpr std::size_t kDepths = 12;  // up to 1024 tokens, 2048, 4096, …
  // Of a row, lately; 0: not measured.
  using Prices = std::array<Duration, kDepths>;

  static std::size_t place_of(std::int32_t depth);
  // What is not measured at this depth costs no less than before it.
  static Duration price(const Prices& prices, std::int32_t depth);

  const std::uint32_t most_;
  const Duration target_;
  Prices in_tiles_{};
  Prices in_few_{};
};

}  // namespace gogrid

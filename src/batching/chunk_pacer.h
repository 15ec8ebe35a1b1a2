// How much of a prompt a step may carry while others wait for their next token.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

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

  // For a prompt of which `depth` tokens are computed. `patience`: who waits can wait for so many
  // times the target.
  std::uint32_t rows(std::int32_t depth, std::uint32_t patience = 1) const;
  // Of prompts with less than a tile left: 30 rows deep in a prompt take longer than a tile.
  std::uint32_t rest(std::int32_t depth, std::uint32_t patience = 1) const;

 private:
  static constexpr std::size_t kDepths = 12;  // up to 1024 tokens, 2048, 4096, …
  // Of a row, lately, and the depth where that was; 0: not measured.
  struct Price {
    Duration row{0};
    std::int32_t depth = 0;
  };
  using Prices = std::array<Price, kDepths>;

  static std::size_t place_of(std::int32_t depth);
  static std::optional<std::size_t> measured_below(const Prices& prices, std::size_t end);
  // What was measured nearest above `depth` or at it, and what attention has added since then: it
  // is linear in the depth. 0: not measured.
  static Duration price(const Prices& prices, std::int32_t depth);
  Duration price_in_few(std::int32_t depth) const;
  // Rows at `price` each that take `target`; `most` where nothing was measured.
  static std::uint32_t few_rows(Duration target, Duration price, std::uint32_t most);

  const std::uint32_t most_;
  const Duration target_;
  Prices in_tiles_{};
  Prices in_few_{};
};

}  // namespace gogrid

// How much of a prompt a step may carry while others wait for their next token.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace gogrid {

// A chunk stalls the running streams for as long as it computes, and a row deep in a long prompt
// costs many times one at its beginning: so the bound is a time, and the rows follow from how long
// recent steps took. Never fewer than kLeast: below it the weights that a step reads cost more than
// its rows. Pure; not thread-safe.
class ChunkPacer {
 public:
  static constexpr std::uint32_t kLeast = 16;

  // `most` rows, while nothing was measured or they are computed within `target`.
  ChunkPacer(std::uint32_t most, Duration target) : most_(most), target_(target) {}

  // A step of so many rows, prompts' and others', took so long.
  void took(std::uint32_t rows, Duration duration);

  std::uint32_t rows() const;

 private:
  const std::uint32_t most_;
  const Duration target_;
  Duration per_row_{0};  // lately; 0: not measured
};

}  // namespace gogrid

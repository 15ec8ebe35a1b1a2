// Which sequence to move so that the busy slots of a group lie side by side.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "stage/stage.h"

namespace gogrid {

// What a slot is to the next steps.
enum class SlotUse : std::uint8_t {
  kIdle,   // nobody's: a sequence may move in
  kRuns,   // in the next steps, may be moved
  kFixed,  // in the next steps, may not be moved
  kRests,  // somebody's, but not in the next steps (its reader is slow): in nobody's way
};

struct SlotMove {
  SlotId from = 0;
  SlotId to = 0;
  bool operator==(const SlotMove&) const = default;
};

// Runs of consecutive slots that are kRuns or kFixed: how often libllama reads the weights for a
// row of each.
std::size_t count_runs(std::span<const SlotUse> slots);

// The move after which there are fewest runs, and then, which span the fewest slots; of equal ones
// the highest slot into the lowest place. Empty when none is an improvement: one run is reached, or
// what may not move is in the way. Sequences end at different times, so without moves a group that
// is half busy decays into single slots. Pure.
std::optional<SlotMove> find_move(std::span<const SlotUse> slots);

}  // namespace gogrid

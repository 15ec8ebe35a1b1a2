// Chooses the rows of the next step. Pure: no locks, no clock, tested with literals.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stage/stage.h"

namespace gogrid {

// A running sequence as the planner sees it.
struct SequenceView {
  SlotId slot = 0;
  std::int32_t computed = 0;  // tokens whose KV is in the cache
  std::int32_t known = 0;     // prompt + generated tokens; computed < known while there is work
  bool in_flight = false;     // rows of it are in a step now
  bool held = false;          // its reader is slow, or it is paused
  std::uint64_t arrival = 0;  // order of admission
};

struct BatchLimits {
  std::uint32_t max_step_rows = 512;
  std::uint32_t prefill_chunk =
      256;  // prompt rows in a step while any sequence decodes; more when none does
  std::uint32_t groups = 1;
  std::uint32_t parallel = 1;
  std::uint32_t max_batch = 0;  // sequences in a step; 0: no limit (policy: max_batch)
};

struct PlannedRows {
  std::size_t sequence = 0;  // index into the views
  std::int32_t first = 0;    // token index
  std::int32_t count = 0;
  bool wants_output = false;  // these reach the last known token
};

struct StepPlan {
  std::vector<PlannedRows> rows;
  bool empty() const { return rows.empty(); }
};

// Decode rows first, one per ready sequence of the group whose turn it is, then one chunk of
// prefill, oldest first. A sequence waits at most one chunk for its next token.
StepPlan plan_step(std::span<const SequenceView> sequences, const BatchLimits& limits,
                   std::uint32_t steps_in_flight);

}  // namespace gogrid

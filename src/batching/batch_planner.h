// Chooses the rows of the next step. Pure: no locks, no clock, tested with literals.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stage/stage.h"

namespace gogrid {

// A running sequence as the planner sees it.
struct SequenceView {
  SlotId slot = 0;
  std::int32_t computed = 0;    // tokens that were handed to the pipeline
  std::int32_t known = 0;       // prompt + generated tokens; computed < known while there is work
  std::uint32_t generated = 0;  // of known
  bool in_flight = false;       // rows of it are in a step now
  bool held = false;            // may not go on: its reader is slow, it waits for another's prefix…
  std::uint64_t arrival = 0;    // order of admission
  std::uint64_t last_step = 0;  // the step that last carried it; 0: none yet

  // Also while in flight: the next chunk of a prompt can follow the last through the stages.
  bool ready() const { return !held && computed < known; }
  // Wants a token: its last row is to be planned, or in flight.
  bool decodes() const { return known - computed <= 1; }
};

struct BatchLimits {
  std::uint32_t max_step_rows = 512;
  // Prompt rows in a step while any sequence decodes, and with several groups always, so that the
  // chunks of one prompt keep all stages busy; otherwise max_step_rows.
  std::uint32_t prefill_chunk = 256;
  // While any sequence decodes, no more than these either (ChunkPacer).
  std::uint32_t paced_chunk = std::numeric_limits<std::uint32_t>::max();
  // And of those with less than a tile left, no more than these together.
  std::uint32_t paced_rest = std::numeric_limits<std::uint32_t>::max();
  // Rows of a prompt that are computed much cheaper together (ChunkPacer::kTile); 0: any number is.
  std::uint32_t tile = 0;
  std::uint32_t groups = 1;
  std::uint32_t parallel = 1;
  std::uint32_t max_batch = 0;  // sequences in a step; 0: no limit (policy: max_batch)
  // Places left in the KV pool; a step takes one for each row.
  std::uint32_t free_cells = std::numeric_limits<std::uint32_t>::max();
};

struct PlannedRows {
  std::size_t sequence = 0;  // index into the views
  std::int32_t first = 0;    // token index
  std::int32_t count = 0;
  bool wants_output = false;  // these reach the last known token
  bool operator==(const PlannedRows&) const = default;
};

struct StepPlan {
  std::vector<PlannedRows> rows;  // by slot
  bool empty() const { return rows.empty(); }
};

// Each group has a range of slots of its own, so that the slots of a step lie side by side:
// libllama reads the weights once for each run of consecutive slots.
std::uint32_t group_of(SlotId slot, const BatchLimits& limits);

// The group whose turn it is: the next after `last`, in a circle, that has a ready sequence and no
// step in flight; if there is none, the next that has a ready sequence. Empty when nobody is ready.
std::optional<std::uint32_t> next_group(std::span<const SequenceView> sequences,
                                        const BatchLimits& limits, std::uint32_t last);

// Nobody but streams of a few tokens waits for the next one. Their prompts came together and so do
// their answers: they can wait longer, and it is for a few tokens only.
bool only_beginners_wait(std::span<const SequenceView> sequences);

// Of the group's ready sequences: decode rows first, one each, then one chunk of prefill. The chunk
// goes to the oldest prompt, but up to half of it to prompts with little left (a quarter of a
// chunk), so that a short prompt does not wait for a long one to end, nor a long one for ever.
// Each long one in the step has a tile at least, for which the chunk may be half as large again.
// Where not all find a place, those go first that were served longest ago.
StepPlan plan_step(std::span<const SequenceView> sequences, const BatchLimits& limits,
                   std::uint32_t group);

}  // namespace gogrid

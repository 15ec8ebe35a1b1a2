// One step as calls to libllama that are each one micro-batch, its rows in a known order.
//
// libllama cuts a batch into micro-batches by itself, and may reorder rows: with a KV stream for
// each sequence a micro-batch is k rows of each of some sequences with consecutive ids. Rows that
// are read out of the middle of a graph carry no names, so the cutting is done here, the same way.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stage/stage.h"

namespace gogrid {

struct SplitLimits {
  std::uint32_t max_rows = 512;    // n_ubatch
  std::uint32_t max_outputs = 16;  // rows with wants_output in a call
  bool equal_rows = true;          // KV streams, or recurrent state: k rows of each sequence
};

// Each call's rows as indices into `rows`, in batch order; every row once, a slot's rows in order
// over the calls. Few calls: each reads all weights once.
std::vector<std::vector<std::uint32_t>> split_step(std::span<const StepRow> rows,
                                                   const SplitLimits& limits);

}  // namespace gogrid

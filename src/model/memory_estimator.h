// What a layer range will take on a device, before anything is allocated.
#pragma once

#include "base/units.h"
#include "model/layer_range.h"
#include "model/model_profile.h"

namespace gogrid {

struct StageMemory {
  Bytes weights = 0;
  Bytes kv = 0;
  Bytes compute = 0;  // libllama's scratch and output buffers
  Bytes total() const { return weights + kv + compute; }
};

struct MemoryQuestion {
  LayerRange layers;
  std::uint32_t context = 4096;       // tokens per sequence
  std::uint32_t parallel = 1;         // sequences at once
  std::uint32_t kv_cells = 0;         // 0: context for each sequence; else one pool for all
  std::uint32_t max_step_rows = 512;  // rows in one step (n_ubatch)
  std::uint32_t max_outputs = 0;      // rows with logits in one call; 0: as StageSpec
  bool flash_attention = true;
};

// Planned, not enforced. Within 10 % of what the backend takes
// (tests/stage/memory_estimate_test.cpp).
StageMemory estimate_memory(const ModelProfile& profile, const MemoryQuestion& question);

}  // namespace gogrid

// What the ledger counts a stage's memory by.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/memory_estimator.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// Held by the engine, and by the stage for as long as it may touch that memory: also one that hangs
// and was left behind.
struct StageLeases {
  MemoryLedger::Lease weights;
  MemoryLedger::Lease kv;
  MemoryLedger::Lease compute;
};
using HeldMemory = std::shared_ptr<StageLeases>;

struct StageNeed {
  std::string device;
  StageMemory memory;
};

std::vector<MemoryRequest> memory_requests(std::string_view holder,
                                           std::span<const StageNeed> stages);

// For all stages of a plan at once, or for none: as MemoryLedger::acquire().
Result<std::vector<HeldMemory>> lease_stages(MemoryLedger& ledger, std::string_view holder,
                                             std::span<const StageNeed> stages);

// Makes each lease what its stage says it took, the ones that shrink first. A stage that says
// nothing (no byte at all) keeps what was planned. kExhausted or kDoesNotFit when more was taken
// than there is left; then some are resized already.
Status settle(std::span<const HeldMemory> leases, std::span<const StageMemory> taken);

}  // namespace gogrid

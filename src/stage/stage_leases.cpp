#include "stage/stage_leases.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

// Requests of one stage, in the order of StageLeases.
constexpr std::size_t kUses = 3;

struct Change {
  MemoryLedger::Lease* lease = nullptr;
  Bytes bytes = 0;
  bool grows() const { return bytes > lease->bytes(); }
};

std::vector<Change> changes_of(std::span<const HeldMemory> leases,
                               std::span<const StageMemory> taken) {
  std::vector<Change> changes;
  for (std::size_t i = 0; i < std::min(leases.size(), taken.size()); ++i) {
    if (taken[i].total() == 0) continue;
    changes.push_back({&leases[i]->weights, taken[i].weights});
    changes.push_back({&leases[i]->kv, taken[i].kv});
    changes.push_back({&leases[i]->compute, taken[i].compute});
  }
  return changes;
}

}  // namespace

std::vector<MemoryRequest> memory_requests(std::string_view holder,
                                           std::span<const StageNeed> stages) {
  std::vector<MemoryRequest> requests;
  for (const auto& [device, memory] : stages) {
    const auto add = [&](MemoryUse use, Bytes bytes) {
      requests.push_back({device, use, std::string(holder), bytes});
    };
    add(MemoryUse::kWeights, memory.weights);
    add(MemoryUse::kKv, memory.kv);
    add(MemoryUse::kCompute, memory.compute);
  }
  return requests;
}

Result<std::vector<HeldMemory>> lease_stages(MemoryLedger& ledger, std::string_view holder,
                                             std::span<const StageNeed> stages) {
  GOGRID_ASSIGN_OR_RETURN(auto leases, ledger.acquire(memory_requests(holder, stages)));
  std::vector<HeldMemory> held;
  for (std::size_t i = 0; i < leases.size(); i += kUses) {
    held.push_back(std::make_shared<StageLeases>(std::move(leases[i]), std::move(leases[i + 1]),
                                                 std::move(leases[i + 2])));
  }
  return held;
}

Status settle(std::span<const HeldMemory> leases, std::span<const StageMemory> taken) {
  std::vector<Change> changes = changes_of(leases, taken);
  std::ranges::stable_partition(changes, [](const Change& change) { return !change.grows(); });
  for (const Change& change : changes) GOGRID_RETURN_IF_ERROR(change.lease->resize(change.bytes));
  return {};
}

}  // namespace gogrid

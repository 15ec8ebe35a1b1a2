// What of a prepared model can be placed now, and whether what cannot never can.
#pragma once

#include <span>
#include <string>

#include "app/prepare.h"
#include "base/result.h"
#include "base/units.h"
#include "device/device_registry.h"
#include "placement/plan.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// One device's memory, whatever GoGrid's caps are.
struct PhysicalMemory {
  std::string device;
  Bytes free = 0;   // now
  Bytes total = 0;  // were nobody else there
};

// A plan that the ledger grants now, within what is free now. Nothing is placed on devices that
// were not measured; with them it may fit another time. Smaller types of stages, where they are
// allowed, are taken for what does not fit otherwise, and would lose no less were other models of
// ours not there.
//   kExhausted   fits under the caps, but others hold the memory: the ledger's words; or others
//                than GoGrid do, or what it fits on is not measured yet
//   kDoesNotFit  not under these caps, nor were it alone; what is short, and what would fit
Result<Plan> plan_within(const PreparedModel& prepared, std::span<const PhysicalMemory> rooms,
                         const MemoryLedger& ledger);
// With the rooms of this moment.
Result<Plan> plan_now(const PreparedModel& prepared, const DeviceRegistry& registry,
                      const MemoryLedger& ledger);
// As if there were no caps, and nobody else on the devices.
Result<Plan> plan_without_caps(const PreparedModel& prepared);

}  // namespace gogrid

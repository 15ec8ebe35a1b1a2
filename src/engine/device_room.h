// What a model may be planned on, of each device: now, and at best.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "device/device.h"
#include "resource/memory_ledger.h"

namespace gogrid {

struct DeviceRoom {
  std::string device;
  Bytes now = 0;    // of what is free, what the cap and the ledger's other holders leave
  Bytes alone = 0;  // under the cap, were nothing else in its memory: what is more fits never
};

// In the order of `devices`. A device that the ledger has no account of has no room.
std::vector<DeviceRoom> room_of(std::span<const Device> devices, const MemoryLedger& ledger);

}  // namespace gogrid

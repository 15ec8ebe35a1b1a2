// What a model may be planned on, of each device: what is free and what the caps leave.
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
  Bytes now = 0;    // beside what the ledger's other holders have
  Bytes alone = 0;  // were there no other holder; never less than `now`
};

// In the order of `devices`. A device that the ledger has no account of has no room.
std::vector<DeviceRoom> room_of(std::span<const Device> devices, const MemoryLedger& ledger);

}  // namespace gogrid

// What each device may give under a policy: floor(its memory x max_device_memory), whole bytes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "device/device.h"
#include "resource/memory_ledger.h"
#include "resource/resource_policy.h"

namespace gogrid {

struct MemoryCap {
  std::string device;
  Bytes bytes = 0;
};

// In the order of `devices`. Its memory is what the driver tells, or its `memory=` where that is
// less; a driver that tells nothing sets no bound.
//
// CPU devices are sets of cores of one host and share its memory: each `memory=` takes its part, in
// order and while there is some, and those without one have even parts of what is left. So their
// caps together are within the host's memory, and within floor(host x max_device_memory) where none
// has a share of its own. An integrated GPU is counted apart, by what its driver tells, though its
// bytes are the host's as well.
std::vector<MemoryCap> memory_caps(std::span<const Device> devices, const ResourcePolicy& policy);

void set_caps(MemoryLedger& ledger, std::span<const Device> devices, const ResourcePolicy& policy);

}  // namespace gogrid

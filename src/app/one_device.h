// The device of a job that runs whole models, outside any plan.
#pragma once

#include <string>
#include <vector>

#include "app/long_job.h"
#include "base/result.h"
#include "base/units.h"
#include "device/device.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// The one that `specs` name, or the CPU. Sets the caps of the process-wide ledger for all devices,
// by the job's policy. kInvalidArgument for more than one.
Result<Device> one_device(const std::vector<DeviceSpec>& specs, const LongJob& job);

// Working memory on the host, within the policy, held while the leases live. `holder` is for
// people.
Result<std::vector<MemoryLedger::Lease>> lease_host_memory(const LongJob& job,
                                                           const std::string& holder, Bytes bytes);

}  // namespace gogrid

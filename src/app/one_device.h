// The device of a job that runs whole models, outside any plan.
#pragma once

#include <vector>

#include "app/long_job.h"
#include "base/result.h"
#include "device/device.h"

namespace gogrid {

// The one that `specs` name, or the CPU. Sets the caps of the process-wide ledger for all devices,
// by the job's policy. kInvalidArgument for more than one.
Result<Device> one_device(const std::vector<DeviceSpec>& specs, const LongJob& job);

}  // namespace gogrid

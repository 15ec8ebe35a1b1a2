// Every way this machine has to look at its GPUs.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "device/gpu_reading.h"

namespace gogrid {

// NVML and sysfs, for Telemetry. Touches no driver yet. `clock` must outlive them.
std::vector<std::unique_ptr<GpuSource>> make_gpu_sources(const Clock& clock);

}  // namespace gogrid

#include "device/gpu_reading.h"

namespace gogrid {

void tell_asleep(GpuReading& gpu) {
  gpu.busy = gpu.busy_by_own = gpu.busy_by_others = Share();
  gpu.notes.emplace_back("memory and temperature unknown: the GPU sleeps, and is not woken");
}

}  // namespace gogrid

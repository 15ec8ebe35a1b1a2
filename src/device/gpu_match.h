// Which reading is of which device.
#pragma once

#include <string>
#include <string_view>

#include "device/device.h"
#include "device/gpu_reading.h"
#include "device/telemetry.h"

namespace gogrid {

// The device's PCI address as GpuReading::id has it; empty for CPUs, and where the backend does not
// tell. The backend may ask its driver: call it once for a device, and keep the answer.
// Thread-safe.
std::string pci_address_of(const Device& device);

// Null: no source knows a GPU at that address. It lives as long as `readings`.
const GpuReading* reading_at(const GpuReadings& readings, std::string_view pci_address);

}  // namespace gogrid

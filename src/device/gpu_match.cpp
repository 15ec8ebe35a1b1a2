#include "device/gpu_match.h"

#include <ggml-backend.h>

#include <algorithm>

namespace gogrid {

std::string pci_address_of(const Device& device) {
  if (device.kind == DeviceKind::kCpu || device.ggml_index >= ggml_backend_dev_count()) return {};
  ggml_backend_dev_props props{};
  ggml_backend_dev_get_props(ggml_backend_dev_get(device.ggml_index), &props);
  return props.device_id == nullptr ? std::string() : std::string(props.device_id);
}

const GpuReading* reading_at(const GpuReadings& readings, std::string_view pci_address) {
  if (pci_address.empty()) return nullptr;
  const auto found = std::ranges::find(readings.gpus, pci_address, &GpuReading::id);
  return found == readings.gpus.end() ? nullptr : &*found;
}

}  // namespace gogrid

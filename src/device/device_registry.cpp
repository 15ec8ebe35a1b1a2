#include "device/device_registry.h"

#include <ggml-backend.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/nearest.h"
#include "device/cpu_info.h"
#include "device/device_selection.h"
#include "device/memory_cache.h"

namespace gogrid {
namespace {

// Helpers of the CPU (BLAS), wrappers of other devices and other hosts (ggml's own RPC) compute
// nothing of their own here.
std::optional<DeviceKind> kind_of(ggml_backend_dev_t device, std::string_view backend) {
  if (backend == "RPC") return std::nullopt;
  switch (ggml_backend_dev_type(device)) {
    case GGML_BACKEND_DEVICE_TYPE_CPU:
      return DeviceKind::kCpu;
    case GGML_BACKEND_DEVICE_TYPE_GPU:
      return DeviceKind::kGpu;
    case GGML_BACKEND_DEVICE_TYPE_IGPU:
      return DeviceKind::kIntegratedGpu;
    case GGML_BACKEND_DEVICE_TYPE_ACCEL:
    case GGML_BACKEND_DEVICE_TYPE_META:
      break;
  }
  return std::nullopt;
}

std::string text_or_empty(const char* text) { return text == nullptr ? "" : text; }

std::vector<Device> find_devices(std::span<const int> usable) {
  std::vector<Device> devices;
  std::map<std::string, std::size_t> seen;  // per backend
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t handle = ggml_backend_dev_get(i);
    Device device;
    device.backend = text_or_empty(ggml_backend_reg_name(ggml_backend_dev_backend_reg(handle)));
    const auto kind = kind_of(handle, device.backend);
    if (!kind) continue;
    device.kind = *kind;
    device.id = device_id(device.backend, seen[device.backend]++);
    device.name = text_or_empty(ggml_backend_dev_description(handle));
    device.ggml_index = i;
    if (device.kind == DeviceKind::kCpu) device.cores.assign(usable.begin(), usable.end());
    if (is_software_renderer(device.name)) {
      device.notes.emplace_back("software renderer: for tests only");
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

std::optional<Bytes> known(std::size_t bytes) {
  return bytes == 0 ? std::nullopt : std::optional<Bytes>(bytes);
}

// `index`: as Device::ggml_index.
MemoryReading read_memory(std::size_t index) {
  ggml_backend_dev_t device = ggml_backend_dev_get(index);
  if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU) return read_host_memory();
  std::size_t free = 0;
  std::size_t total = 0;
  ggml_backend_dev_memory(device, &free, &total);
  return {.total = known(total), .free = known(free)};
}

}  // namespace

struct DeviceRegistry::State {
  State(std::vector<Device> chosen, const Clock& clock)
      : devices(std::move(chosen)), memory(&read_memory, clock, kMemoryTtl) {}

  Device with_memory(Device device) {
    const MemoryReading reading = memory.read(device.ggml_index);
    device.memory_total = reading.total;
    device.memory_free = reading.free;
    if (!reading.total) device.notes.emplace_back("memory unknown: the driver does not tell");
    return device;
  }

  const std::vector<Device> devices;  // without memory readings
  MemoryCache memory;
};

DeviceRegistry::DeviceRegistry(std::unique_ptr<State> state) : state_(std::move(state)) {}
DeviceRegistry::DeviceRegistry(DeviceRegistry&&) noexcept = default;
DeviceRegistry::~DeviceRegistry() = default;

Result<DeviceRegistry> DeviceRegistry::detect(std::span<const DeviceSpec> specs,
                                              const Clock& clock) {
  initialize_backends();
  const std::vector<int> usable = usable_cores();
  GOGRID_ASSIGN_OR_RETURN(auto devices, select_devices(find_devices(usable), specs, usable));
  return DeviceRegistry(std::make_unique<State>(std::move(devices), clock));
}

std::vector<Device> DeviceRegistry::devices() const {
  std::vector<Device> result;
  for (const Device& device : state_->devices) result.push_back(state_->with_memory(device));
  return result;
}

Result<Device> DeviceRegistry::find(std::string_view id) const {
  std::vector<std::string> ids;
  for (const Device& device : state_->devices) {
    if (device.id == id) return state_->with_memory(device);
    ids.push_back(device.id);
  }
  return fail(ErrorCode::kNotFound,
              "[device] no such device: '" + std::string(id) + "'" + suggestion(id, ids), "device");
}

}  // namespace gogrid

#include "device/device_selection.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/nearest.h"

namespace gogrid {
namespace {

// Backends ggml has, so that "cuda0:cores=0" on a machine without CUDA is a device that is missing
// and not a new set of cores with a misleading name.
constexpr std::array<std::string_view, 12> kBackends = {"blas",  "cann", "cuda",   "hip",
                                                        "metal", "mtl",  "musa",   "opencl",
                                                        "rocm",  "sycl", "vulkan", "webgpu"};

bool names_a_backend(std::string_view id) {
  while (!id.empty() && id.back() >= '0' && id.back() <= '9') id.remove_suffix(1);
  return std::ranges::find(kBackends, id) != kBackends.end();
}

std::vector<std::string> ids_of(std::span<const Device> devices) {
  std::vector<std::string> ids;
  for (const Device& device : devices) ids.push_back(device.id);
  return ids;
}

// The machine's CPU as found: what a new set of cores is a part of.
const Device* whole_cpu(std::span<const Device> found) {
  const auto at = std::ranges::find(found, DeviceKind::kCpu, &Device::kind);
  return at == found.end() ? nullptr : &*at;
}

Result<Device> device_of(const DeviceSpec& spec, std::span<const Device> found) {
  const auto known = std::ranges::find(found, spec.id, &Device::id);
  const Device* base = known != found.end() ? &*known : whole_cpu(found);
  const bool is_new_cpu = known == found.end() && !spec.cores.empty() && !names_a_backend(spec.id);
  if (base == nullptr || (known == found.end() && !is_new_cpu)) {
    return fail(ErrorCode::kNotFound,
                "[device] no such device: '" + spec.id + "'" + suggestion(spec.id, ids_of(found)) +
                    "; a new set of CPU cores is ID:cores=0-3",
                "device");
  }
  if (!spec.cores.empty() && base->kind != DeviceKind::kCpu) {
    return fail(ErrorCode::kInvalidArgument,
                "[device] cores are for CPU devices: '" + spec.id + "' is a " +
                    std::string(name_of(base->kind)),
                "device");
  }
  Device device = *base;
  device.id = spec.id;
  device.named = true;
  device.memory_budget = spec.memory;
  if (!spec.cores.empty()) {
    device.cores = spec.cores;
    device.pinned = true;
  }
  return device;
}

Status check_usable(const Device& device, std::span<const int> usable) {
  for (const int core : device.cores) {
    if (std::ranges::binary_search(usable, core)) continue;
    return fail(ErrorCode::kInvalidArgument,
                "[device] " + device.id + ": cores this process may use (" +
                    std::to_string(usable.front()) + " to " + std::to_string(usable.back()) +
                    "): core " + std::to_string(core),
                "device");
  }
  return {};
}

Status check_apart(std::span<const Device> devices) {
  std::set<std::string_view> ids;
  std::map<int, std::string_view> owners;
  for (const Device& device : devices) {
    if (!ids.insert(device.id).second) {
      return fail(ErrorCode::kInvalidArgument,
                  "[device] each device once: '" + device.id + "' twice", "device");
    }
    for (const int core : device.cores) {
      const auto [at, fresh] = owners.emplace(core, device.id);
      if (fresh) continue;
      return fail(ErrorCode::kInvalidArgument,
                  "[device] CPU devices with cores of their own: " + std::string(at->second) +
                      " and " + device.id + " both have core " + std::to_string(core),
                  "device");
    }
  }
  return {};
}

}  // namespace

std::string device_id(std::string_view backend, std::size_t index) {
  std::string id;
  for (const char c : backend) {
    id.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return id + std::to_string(index);
}

bool is_software_renderer(std::string_view name) {
  return name.contains("llvmpipe") || name.contains("lavapipe") || name.contains("SwiftShader");
}

Result<std::vector<Device>> select_devices(std::span<const Device> found,
                                           std::span<const DeviceSpec> specs,
                                           std::span<const int> usable_cores) {
  if (specs.empty()) return std::vector<Device>(found.begin(), found.end());
  std::vector<Device> devices;
  for (const DeviceSpec& spec : specs) {
    GOGRID_ASSIGN_OR_RETURN(Device device, device_of(spec, found));
    GOGRID_RETURN_IF_ERROR(check_usable(device, usable_cores));
    devices.push_back(std::move(device));
  }
  GOGRID_RETURN_IF_ERROR(check_apart(devices));
  return devices;
}

}  // namespace gogrid

// From the devices that were found and the words of the user to the devices that are used. Pure.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"

namespace gogrid {

// "CUDA", 1 -> "cuda1".
std::string device_id(std::string_view backend, std::size_t index);

// True for renderers that compute on the CPU behind a GPU's interface (Mesa's llvmpipe).
bool is_software_renderer(std::string_view name);

// All of `found` when `specs` is empty; else one device per spec, in their order. Errors as
// DeviceRegistry::detect(). `usable_cores`: in order.
Result<std::vector<Device>> select_devices(std::span<const Device> found,
                                           std::span<const DeviceSpec> specs,
                                           std::span<const int> usable_cores);

}  // namespace gogrid

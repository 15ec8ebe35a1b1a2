// Whether NVIDIA's GPUs sleep, as the kernel tells without waking them.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace gogrid {

// Of a GPU that the NVIDIA driver has. A laptop's may be powered off while nobody uses it ("runtime
// D3"): a question through NVML wakes it, and an initialized NVML keeps it awake.
struct GpuPower {
  bool may_sleep = false;  // power/control is "auto"
  bool asleep = false;     // power/runtime_status is "suspended"
  bool unused = false;     // power/runtime_usage is 0: awake for a last moment
  std::string name;        // "nvidia 10de:2684"
};

// By PCI address. Empty where there is no such driver, or sysfs does not show it. `root` is
// prefixed to /sys. Thread-safe.
std::map<std::string, GpuPower> read_nvidia_power(const std::filesystem::path& root = "/");

}  // namespace gogrid

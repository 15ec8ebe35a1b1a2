#include "device/nvidia_power.h"

#include <system_error>

#include "device/small_file.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxGpus = 64;

GpuPower power_of(const fs::path& device) {
  GpuPower power;
  power.may_sleep = small_text(device / "power/control") == "auto";
  power.asleep = small_text(device / "power/runtime_status") == "suspended";
  // Not every kernel has this file; without it, nobody knows.
  power.unused = small_text(device / "power/runtime_usage") == "0";
  power.name = "nvidia " + uevent_value(small_text(device / "uevent"), "PCI_ID");
  return power;
}

}  // namespace

std::map<std::string, GpuPower> read_nvidia_power(const fs::path& root) {
  std::map<std::string, GpuPower> gpus;
  std::error_code error;
  fs::directory_iterator entries(root / "sys/bus/pci/drivers/nvidia", error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string address = entries->path().filename();
    // A link for each device, by its address; beside them are the driver's own files.
    if (!address.contains(':') || gpus.size() == kMaxGpus) continue;
    gpus.emplace(address, power_of(entries->path()));
  }
  return gpus;
}

}  // namespace gogrid

// What can hold and run a layer range: a GPU, or a set of CPU cores with a memory budget.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

enum class DeviceKind : std::uint8_t { kCpu, kGpu, kIntegratedGpu, kAccelerator };
std::string_view name_of(DeviceKind kind);  // "cpu", "gpu", "igpu", "accel"

struct Device {
  std::string id;       // "cpu0", "vulkan0", "cpu-a": what --device and plans name
  std::string backend;  // ggml's registry name: "CPU", "Vulkan"
  std::string name;     // "AMD EPYC", for people
  DeviceKind kind = DeviceKind::kCpu;
  std::optional<Bytes> memory_total;  // empty: the driver does not tell. Never zero for "unknown"
  std::optional<Bytes> memory_free;
  std::optional<Bytes>
      memory_budget;       // set by --device …:memory=…; placement plans within min(budget, free)
  std::vector<int> cores;  // CPU only: the cores its threads are pinned to; never empty for a CPU
  bool pinned = false;  // cores were given by the user (or several CPU devices share the machine)
  bool named = false;   // the user asked for it, instead of taking all there are
  std::vector<std::string> notes;  // what a person should know: "software renderer: for tests only"
  std::size_t ggml_index = 0;      // ggml_backend_dev_get(ggml_index)
};

// ID[:cores=0-3,6][:memory=8GiB]
struct DeviceSpec {
  std::string id;
  std::vector<int> cores;
  std::optional<Bytes> memory;
};
// kInvalidArgument with the part at fault.
Result<DeviceSpec> parse_device_spec(std::string_view text);
// "0-3,6" -> {0,1,2,3,6}; each core once, in order, at most 4096.
Result<std::vector<int>> parse_cores(std::string_view text);

}  // namespace gogrid

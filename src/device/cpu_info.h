// What the operating system lets this process have of the machine's CPU and memory.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "base/units.h"

namespace gogrid {

// Empty: not known. Never zero for "unknown".
struct MemoryReading {
  std::optional<Bytes> total;
  std::optional<Bytes> free;
};

// The cores this process may run on (its affinity mask, so a container's or taskset's choice
// holds), in order. Never empty.
std::vector<int> usable_cores();

// Memory of the machine, or of the control group this process lives in where that is less (cgroup
// v1 and v2, every level up to the root). `root` is prefixed to /proc and /sys, for tests.
MemoryReading read_host_memory(const std::filesystem::path& root = "/");

}  // namespace gogrid

// Memory that is not ours, and how long tasks of the machine have waited for want of something.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/share.h"
#include "base/units.h"
#include "resource/host_text.h"

namespace gogrid {

// /proc/meminfo.
struct MachineMemory {
  Bytes total = 0;      // MemTotal; at least 1
  Bytes available = 0;  // MemAvailable, the kernel's own estimate; at most the total
  bool operator==(const MachineMemory&) const = default;
};
Reading<MachineMemory> parse_meminfo(std::string_view meminfo);

// RssAnon and RssShmem of /proc/PID/status (since Linux 4.5). Not its file pages: weights that are
// mapped from a file count as available in MemAvailable, so they are nobody's here. GoGrid locks no
// pages.
Reading<Bytes> parse_own_memory(std::string_view status);

// All that is resident of a process, by what it stands for (/proc/PID/status).
struct ProcessMemory {
  Bytes anonymous = 0;  // heap, stacks, KV cache, buffers
  Bytes file = 0;  // pages of files: the program, mapped weights; the kernel may take them back
  Bytes shared = 0;
  bool operator==(const ProcessMemory&) const = default;
};
Reading<ProcessMemory> parse_process_memory(std::string_view status);
Reading<ProcessMemory> read_process_memory(const std::filesystem::path& root);

Reading<MachineMemory> read_machine_memory(const std::filesystem::path& root);
Reading<Bytes> read_own_memory(const std::filesystem::path& root);

// (total - available - own) / total; none where own is more than is used.
Share memory_of_others(const MachineMemory& machine, Bytes own);

// One line of /proc/pressure/RESOURCE.
struct Stall {
  Share avg10;                     // of the last 10 s
  std::uint64_t microseconds = 0;  // since the start
  bool operator==(const Stall&) const = default;
};

// Pressure stall information (since Linux 4.20, where it is switched on). Our own waits are in it
// too: it is shown, and decides nothing.
struct Pressure {
  Stall some;  // some task waited
  Stall full;  // all tasks waited; none where the kernel has no such line
  bool operator==(const Pressure&) const = default;
};
Reading<Pressure> parse_pressure(std::string_view text);

enum class PressureOf : std::uint8_t { kCpu, kIo, kMemory };
inline constexpr std::array kPressures{PressureOf::kCpu, PressureOf::kIo, PressureOf::kMemory};
std::string_view name_of(PressureOf resource);  // "cpu", "io", "memory"
Reading<Pressure> read_pressure(const std::filesystem::path& root, PressureOf resource);

}  // namespace gogrid

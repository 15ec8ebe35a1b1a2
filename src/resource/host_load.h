// What the machine is doing besides us: CPU, memory, pressure, power and heat from /proc and /sys.
#pragma once

#include <array>
#include <filesystem>
#include <optional>

#include "base/share.h"
#include "resource/host_cpu.h"
#include "resource/host_memory.h"
#include "resource/host_power.h"
#include "resource/host_text.h"

namespace gogrid {

// What is counted, at one moment.
struct HostCounters {
  Reading<MachineCpu> machine_cpu;
  Reading<OwnCpu> own_cpu;
  Reading<MachineMemory> machine_memory;
  Reading<Bytes> own_memory;
};

struct HostLoad {
  Reading<CpuLoad> cpu;                                       // since the look before
  Reading<Share> memory_of_others;                            // of the machine's memory
  std::array<Reading<Pressure>, kPressures.size()> pressure;  // in the order of kPressures
  Reading<Power> power;
  Reading<Heat> heat;
};

// Pure: what two looks, or one, say.
Reading<CpuLoad> cpu_load(const HostCounters& before, const HostCounters& after,
                          std::uint64_t ticks_per_second);
Reading<Share> memory_load(const HostCounters& now);

// Remembers the look before. Not thread-safe: used by one thread, or under a lock.
class HostLoadReader {
 public:
  // `root` is prefixed to /proc and /sys.
  explicit HostLoadReader(std::filesystem::path root = "/");

  // About twenty small files, and three for each thread of this process: 150 us with one thread.
  // The first look does not know the CPU's load.
  HostLoad read();

 private:
  const std::filesystem::path root_;
  const std::uint64_t ticks_per_second_;
  std::optional<HostCounters> before_;
};

}  // namespace gogrid

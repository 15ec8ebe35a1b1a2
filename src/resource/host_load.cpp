#include "resource/host_load.h"

#include <utility>

namespace gogrid {
namespace {

HostCounters read_counters(const std::filesystem::path& root, std::uint64_t ticks_per_second) {
  return {.machine_cpu = read_machine_cpu(root),
          .own_cpu = read_own_cpu(root, ticks_per_second),
          .machine_memory = read_machine_memory(root),
          .own_memory = read_own_memory(root)};
}

}  // namespace

Reading<CpuLoad> cpu_load(const HostCounters& before, const HostCounters& after,
                          std::uint64_t ticks_per_second) {
  for (const HostCounters* counters : {&after, &before}) {
    if (!counters->machine_cpu) return std::unexpected(counters->machine_cpu.error());
    if (!counters->own_cpu) return std::unexpected(counters->own_cpu.error());
  }
  return cpu_between(*before.machine_cpu, *after.machine_cpu, *before.own_cpu, *after.own_cpu,
                     ticks_per_second);
}

Reading<Share> memory_load(const HostCounters& now) {
  if (!now.machine_memory) return std::unexpected(now.machine_memory.error());
  if (!now.own_memory) return std::unexpected(now.own_memory.error());
  return memory_of_others(*now.machine_memory, *now.own_memory);
}

HostLoadReader::HostLoadReader(std::filesystem::path root)
    : root_(std::move(root)), ticks_per_second_(gogrid::ticks_per_second()) {}

HostLoad HostLoadReader::read() {
  HostCounters now = read_counters(root_, ticks_per_second_);
  HostLoad load{
      .cpu = not_known("CPU", "this is the first look"),
      .memory_of_others = memory_load(now),
      .pressure = {read_pressure(root_, kPressures[0]), read_pressure(root_, kPressures[1]),
                   read_pressure(root_, kPressures[2])},
      .power = read_power(root_),
      .heat = read_heat(root_)};
  if (before_) load.cpu = cpu_load(*before_, now, ticks_per_second_);
  before_ = std::move(now);
  return load;
}

}  // namespace gogrid

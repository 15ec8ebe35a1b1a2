#include "resource/memory_metrics.h"

#include <algorithm>
#include <string>
#include <vector>

#include "resource/host_memory.h"

namespace gogrid {
namespace {

double number(Bytes bytes) { return static_cast<double>(bytes); }

void export_ledger(const MemoryLedger& ledger, Metrics& metrics) {
  std::vector<Metrics::Leased> leases;
  for (const DeviceMemory& memory : ledger.list()) {
    metrics.set_memory_cap(memory.device, number(memory.cap));
    for (const MemoryHolder& holder : memory.holders) {
      leases.push_back(
          {memory.device, holder.holder, std::string(name_of(holder.use)), number(holder.bytes)});
    }
  }
  metrics.set_leased(leases);
}

}  // namespace

void export_memory(const MemoryLedger& ledger, std::span<const Device> devices,
                   const std::filesystem::path& root, Metrics& metrics) {
  export_ledger(ledger, metrics);
  if (const auto process = read_process_memory(root)) {
    metrics.set_memory_measured("process_anonymous", "", number(process->anonymous));
    metrics.set_memory_measured("process_file", "", number(process->file));
    metrics.set_memory_measured("process_shared", "", number(process->shared));
  }
  for (const Device& device : devices) {
    if (device.kind == DeviceKind::kCpu || !device.memory_total || !device.memory_free) continue;
    const Bytes used = *device.memory_total - std::min(*device.memory_total, *device.memory_free);
    metrics.set_memory_measured("device_used", device.id, number(used));
  }
}

}  // namespace gogrid

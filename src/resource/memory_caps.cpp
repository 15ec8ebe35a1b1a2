#include "resource/memory_caps.h"

#include <algorithm>
#include <cstdint>

namespace gogrid {
namespace {

// Nothing tells how much it is.
constexpr Bytes kUnbounded = UINT64_MAX;

Bytes bounded(const Device& device, Bytes memory) {
  return std::min(memory, device.memory_budget.value_or(memory));
}

// The host's memory, dealt out to its sets of cores.
class HostShares {
 public:
  explicit HostShares(std::span<const Device> devices) {
    for (const Device& device : devices) {
      if (device.kind != DeviceKind::kCpu) continue;
      left_ = std::min(left_, device.memory_total.value_or(kUnbounded));
      sharing_ += device.memory_budget ? 0 : 1;
    }
    for (const Device& device : devices) {
      if (device.kind != DeviceKind::kCpu || !device.memory_budget) continue;
      taken_.push_back(bounded(device, left_));
      left_ -= taken_.back();
    }
  }

  // For each set in its order.
  Bytes next(const Device& device) {
    return device.memory_budget ? taken_[next_++] : left_ / sharing_;
  }

 private:
  Bytes left_ = kUnbounded;
  Bytes sharing_ = 0;  // without a `memory=`
  std::vector<Bytes> taken_;
  std::size_t next_ = 0;
};

}  // namespace

std::vector<MemoryCap> memory_caps(std::span<const Device> devices, const ResourcePolicy& policy) {
  HostShares host(devices);
  std::vector<MemoryCap> caps;
  for (const Device& device : devices) {
    const Bytes memory = device.kind == DeviceKind::kCpu
                             ? host.next(device)
                             : bounded(device, device.memory_total.value_or(kUnbounded));
    caps.push_back({device.id, policy.memory_of(device.id).floor_of(memory)});
  }
  return caps;
}

void set_caps(MemoryLedger& ledger, std::span<const Device> devices, const ResourcePolicy& policy) {
  for (const MemoryCap& cap : memory_caps(devices, policy)) ledger.set_cap(cap.device, cap.bytes);
}

}  // namespace gogrid

// Which models give their memory back when a cap shrank below what is held. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "resource/memory_ledger.h"

namespace gogrid {

// In the order in which they leave: one that loads has served nobody yet.
enum class Activity : std::uint8_t { kLoading, kIdle, kBusy };

struct MemoryUser {
  std::string name;  // as the ledger's holders
  Activity activity = Activity::kIdle;
};

// Those that have to go for every device to be within its cap: device by device, the one with the
// largest excess first; in the order of Activity; of the same the smallest that is enough alone,
// or else the largest. Empty when nothing is over, or none of them holds anything there.
std::vector<std::string> choose_leaving(std::span<const DeviceMemory> ledger,
                                        std::span<const MemoryUser> models);

// "cpu0 holds 700.0 MiB, cap 500.0 MiB: 200.0 MiB over"; empty when nothing is.
std::string excess_text(std::span<const DeviceMemory> ledger);

}  // namespace gogrid

// Which models give their memory back when a cap shrank below what is held. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "resource/memory_ledger.h"

namespace gogrid {

struct LoadedModel {
  std::string name;   // as the ledger's holders
  bool idle = false;  // no stream runs or waits
};

// Those that have to go for every device to be within its cap: device by device, the one with the
// largest excess first; idle models before busy ones; of these the smallest that is enough alone,
// or else the largest. Empty when nothing is over, or none of them holds anything there.
std::vector<std::string> choose_leaving(std::span<const DeviceMemory> ledger,
                                        std::span<const LoadedModel> models);

// "cpu0 holds 700.0 MiB, cap 500.0 MiB: 200.0 MiB over"; empty when nothing is.
std::string excess_text(std::span<const DeviceMemory> ledger);

}  // namespace gogrid

#include "engine/memory_pressure.h"

#include <algorithm>
#include <set>

namespace gogrid {
namespace {

Bytes over(const DeviceMemory& memory) { return memory.held - std::min(memory.held, memory.cap); }

Bytes held_by(const DeviceMemory& memory, const std::string& name) {
  Bytes bytes = 0;
  for (const MemoryHolder& holder : memory.holders) {
    if (holder.holder == name) bytes += holder.bytes;
  }
  return bytes;
}

// Who goes first from a device that is `excess` over its cap; null: nobody here can help.
const MemoryUser* next_to_leave(const DeviceMemory& memory, std::span<const MemoryUser> models,
                                const std::set<std::string>& gone, Bytes excess) {
  const MemoryUser* best = nullptr;
  const auto is_before = [&](const MemoryUser& a, const MemoryUser& b) {
    if (a.activity != b.activity) return a.activity < b.activity;
    const Bytes of_a = held_by(memory, a.name);
    const Bytes of_b = held_by(memory, b.name);
    if (of_a >= excess && of_b >= excess) return of_a < of_b;
    return of_a > of_b;
  };
  for (const MemoryUser& model : models) {
    if (gone.contains(model.name) || held_by(memory, model.name) == 0) continue;
    if (best == nullptr || is_before(model, *best)) best = &model;
  }
  return best;
}

}  // namespace

std::vector<std::string> choose_leaving(std::span<const DeviceMemory> ledger,
                                        std::span<const MemoryUser> models) {
  std::vector<const DeviceMemory*> devices;
  for (const DeviceMemory& memory : ledger) devices.push_back(&memory);
  std::ranges::stable_sort(devices, std::greater{},
                           [](const auto* memory) { return over(*memory); });
  std::set<std::string> gone;
  for (const DeviceMemory* memory : devices) {
    Bytes excess = over(*memory);
    for (const std::string& name : gone) excess -= std::min(excess, held_by(*memory, name));
    while (excess > 0) {
      const MemoryUser* next = next_to_leave(*memory, models, gone, excess);
      if (next == nullptr) break;
      excess -= std::min(excess, held_by(*memory, next->name));
      gone.insert(next->name);
    }
  }
  return {gone.begin(), gone.end()};
}

std::string excess_text(std::span<const DeviceMemory> ledger) {
  std::string text;
  for (const DeviceMemory& memory : ledger) {
    if (over(memory) == 0) continue;
    text += (text.empty() ? "" : "; ") + memory.device + " holds " + format_bytes(memory.held) +
            ", cap " + format_bytes(memory.cap) + ": " + format_bytes(over(memory)) + " over";
  }
  return text;
}

}  // namespace gogrid

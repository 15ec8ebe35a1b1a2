#include "batching/slot_moves.h"

#include <utility>
#include <vector>

namespace gogrid {
namespace {

bool runs(SlotUse use) { return use == SlotUse::kRuns || use == SlotUse::kFixed; }

// Runs, and slots from the first to the last that runs.
std::pair<std::size_t, std::size_t> spread(std::span<const SlotUse> slots) {
  std::size_t first = slots.size();
  std::size_t end = first;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (!runs(slots[i])) continue;
    if (first == slots.size()) first = i;
    end = i + 1;
  }
  return {count_runs(slots), end - first};
}

}  // namespace

std::size_t count_runs(std::span<const SlotUse> slots) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (runs(slots[i]) && (i == 0 || !runs(slots[i - 1]))) ++count;
  }
  return count;
}

std::optional<SlotMove> find_move(std::span<const SlotUse> slots) {
  auto least = spread(slots);
  if (least.first <= 1) return std::nullopt;
  std::optional<SlotMove> best;
  std::vector<SlotUse> after(slots.begin(), slots.end());
  for (std::size_t from = slots.size(); from-- > 0;) {
    if (slots[from] != SlotUse::kRuns) continue;
    for (std::size_t to = 0; to < slots.size(); ++to) {
      if (slots[to] != SlotUse::kIdle) continue;
      std::swap(after[from], after[to]);
      const auto now = spread(after);
      std::swap(after[from], after[to]);
      if (now >= least) continue;
      least = now;
      best = SlotMove{static_cast<SlotId>(from), static_cast<SlotId>(to)};
    }
  }
  return best;
}

}  // namespace gogrid

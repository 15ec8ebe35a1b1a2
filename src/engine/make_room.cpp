#include "engine/make_room.h"

#include <algorithm>

namespace gogrid {

std::optional<std::string> choose_for_room(std::span<const LoadedModel> models,
                                           TimePoint waits_since, TimePoint now) {
  const LoadedModel* idle = nullptr;
  const LoadedModel* busy = nullptr;
  for (const LoadedModel& model : models) {
    if (model.pinned) continue;
    if (model.busy && now - model.ready_since < kLeastStay) continue;
    const LoadedModel*& best = model.busy ? busy : idle;
    if (best == nullptr || model.used < best->used) best = &model;
  }
  if (idle != nullptr) return idle->name;
  if (busy != nullptr && now - waits_since >= kPatience) return busy->name;
  return std::nullopt;
}

bool can_make_room(std::span<const LoadedModel> models) {
  return std::ranges::any_of(models, [](const LoadedModel& model) { return !model.pinned; });
}

}  // namespace gogrid

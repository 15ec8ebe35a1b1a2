// Which loaded model gives its memory back, so that one that is asked for can be loaded. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/clock.h"

namespace gogrid {

struct LoadedModel {
  std::string name;
  bool pinned = false;
  bool busy = false;  // streams run or wait, or somebody is about to send it a request
  TimePoint used;     // when it last computed, or was asked for
  TimePoint ready_since;
};

// So long others wait before a busy model is asked to end its streams for them, and so long it may
// serve before: loading costs seconds, and whoever waited for it is to have them back.
inline constexpr Duration kPatience = std::chrono::seconds(2);
inline constexpr Duration kLeastStay = std::chrono::seconds(5);

// The idle one that was not used for longest; when all are busy and somebody has waited since
// `waits_since` for kPatience, the least recently used one of those that served for kLeastStay.
// Never a pinned one. Empty: nobody, or nobody yet (can_make_room).
std::optional<std::string> choose_for_room(std::span<const LoadedModel> models,
                                           TimePoint waits_since, TimePoint now);

// Whether choose_for_room would name one, now or later.
bool can_make_room(std::span<const LoadedModel> models);

}  // namespace gogrid

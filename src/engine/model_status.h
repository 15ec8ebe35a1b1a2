// How far a served model is, and what is answered while it is not ready.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/text_engine.h"

namespace gogrid {

enum class ModelState : std::uint8_t {
  kLoading,
  kReady,
  kFailed,
  kLeaving,   // ends its streams, takes no new ones, then gives its memory back
  kUnloaded,  // gave its memory back; loads again when a cap or what others hold allows it
  kResting,   // not loaded, for nobody needs it, or others need the room; loads when asked for
};
std::string_view name_of(ModelState state);  // "loading", "ready", "failed", …

struct ModelStatus {
  std::string name;
  ModelState state = ModelState::kLoading;
  double progress = 0.0;                     // 0..1 while loading
  std::string why;                           // when neither loading nor ready
  ErrorCode code = ErrorCode::kUnavailable;  // of the answer to a request then
  std::int64_t created = 0;                  // seconds since the epoch, for /v1/models
  std::vector<std::string> aliases;          // other names of it
  bool pinned = false;                       // never unloaded to make room, nor for being idle
  std::size_t waiting = 0;                   // requests that wait for it to be loaded
  std::shared_ptr<TextEngine> engine;        // when ready or leaving
};

// The answer to a request for a model that is not ready.
Error not_ready(const ModelStatus& status);

}  // namespace gogrid

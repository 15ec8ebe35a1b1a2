// Which models are served, and how far each is.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/text_engine.h"

namespace gogrid {

enum class ModelState : std::uint8_t { kLoading, kReady, kFailed };
std::string_view name_of(ModelState state);  // "loading", "ready", "failed"

struct ModelStatus {
  std::string name;
  ModelState state = ModelState::kLoading;
  double progress = 0.0;               // 0..1 while loading
  std::string why;                     // when failed
  std::int64_t created = 0;            // seconds since the epoch, for /v1/models
  std::shared_ptr<TextEngine> engine;  // when ready
};

// Makes an engine; called on the registry's loading thread.
using EngineLoader =
    std::function<Result<std::unique_ptr<TextEngine>>(const LoadProgress&, std::stop_token)>;

// Thread-safe. Loads one model at a time, in the order they were added. An engine whose pipeline
// fails becomes kFailed and is loaded again after a back-off (100 ms doubling to 5 s, 3 tries, and
// 3 more once it has served for a minute); its status says so.
class EngineRegistry {
 public:
  explicit EngineRegistry(const Clock& clock);
  ~EngineRegistry();

  // kInvalidArgument when the name is taken.
  Status add(std::string name, EngineLoader loader);
  // kNotFound with the nearest names; kUnavailable while loading (retry_after, progress in the
  // message) or when failed (why).
  Result<std::shared_ptr<TextEngine>> find(std::string_view name) const;
  std::vector<ModelStatus> list() const;
  // All models ready (a token was made by each).
  bool ready() const;
  // Stops loading, drains every engine until `deadline`.
  void drain(TimePoint deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gogrid

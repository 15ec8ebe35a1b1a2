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
#include "resource/memory_ledger.h"

namespace gogrid {

enum class ModelState : std::uint8_t {
  kLoading,
  kReady,
  kFailed,
  kLeaving,   // ends its streams, takes no new ones, then gives its memory back
  kUnloaded,  // gave its memory back; loads again when a cap or what others hold allows it
};
std::string_view name_of(ModelState state);  // "loading", "ready", "failed", …

struct ModelStatus {
  std::string name;
  ModelState state = ModelState::kLoading;
  double progress = 0.0;                     // 0..1 while loading
  std::string why;                           // when neither loading nor ready
  ErrorCode code = ErrorCode::kUnavailable;  // of the answer to a request then
  std::int64_t created = 0;                  // seconds since the epoch, for /v1/models
  std::shared_ptr<TextEngine> engine;        // when ready
};

// Makes an engine; called on the registry's loading thread.
using EngineLoader =
    std::function<Result<std::unique_ptr<TextEngine>>(const LoadProgress&, std::stop_token)>;

// Thread-safe. Loads one model at a time, in the order they were added. An engine whose pipeline
// fails becomes kFailed and is loaded again after a back-off (100 ms doubling to 5 s, 3 tries, and
// 3 more once it has served for a minute); its status says so.
//
// When a cap of the ledger shrinks below what is held, models leave (choose_leaving): idle ones at
// once, busy ones when their last stream has ended; no stream is cut short. They load again, as do
// models that were refused memory, when some device's room has grown.
class EngineRegistry {
 public:
  // `ledger` must outlive it; null: nobody leaves.
  explicit EngineRegistry(const Clock& clock, const MemoryLedger* ledger = nullptr);
  ~EngineRegistry();

  // kInvalidArgument when the name is taken.
  Status add(std::string name, EngineLoader loader);
  // kNotFound with the nearest names; kUnavailable while loading (retry_after, progress in the
  // message) or when failed (why); kExhausted or kDoesNotFit, with the ledger's numbers, for want
  // of memory.
  Result<std::shared_ptr<TextEngine>> find(std::string_view name) const;
  std::vector<ModelStatus> list() const;
  // All models ready (a token was made by each).
  bool ready() const;
  // A cap has changed: looks now instead of within 200 ms. Does not block.
  void look();
  // Stops loading, drains every engine until `deadline`.
  void drain(TimePoint deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gogrid

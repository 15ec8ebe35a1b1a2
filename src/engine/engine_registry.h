// Which models are served, and how far each is.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/model_status.h"
#include "engine/text_engine.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// Makes an engine; called on the registry's loading thread. Tells progress only once it has begun
// to do what costs (slices, weights): a refusal before is cheap to ask for again.
using EngineLoader =
    std::function<Result<std::unique_ptr<TextEngine>>(const LoadProgress&, std::stop_token)>;

// Thread-safe. Loads one model at a time, in the order they were added, on a thread of its own;
// another watches the engines meanwhile. An engine whose pipeline fails becomes kFailed and is
// loaded again after a back-off (LoadRetry); its status says so.
//
// When a cap of the ledger shrinks below what is held, models leave (choose_leaving): one that
// loads is told to stop, idle ones go at once, also while another loads or waits for a pause to
// end, busy ones when their last stream has ended; no stream is cut short. They load again, as do
// models that were refused memory, when some device's room has grown, or after a while (LoadRetry).
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
  // A cap has changed: when it returns, nobody finds a model that must leave. Waits neither for
  // streams nor for memory to be given back.
  void look();
  // Stops loading, drains every engine until `deadline`.
  void drain(TimePoint deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gogrid

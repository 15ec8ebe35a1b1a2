// Which models are served, and how far each is.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/model_status.h"
#include "engine/model_waiters.h"
#include "engine/served_model.h"
#include "obs/metrics.h"
#include "resource/memory_ledger.h"

namespace gogrid {

struct RegistryOptions {
  // Must outlive it; null: nobody leaves, and room is made for nobody.
  const MemoryLedger* ledger = nullptr;
  // A model that nobody used for so long is unloaded, unless it is pinned; empty: it stays.
  std::optional<Duration> keep_alive;
  // Requests that may wait for models at once.
  std::size_t max_waiting = 1024;
  Metrics* metrics = nullptr;  // must outlive it
};

// How a model is kept.
struct ModelKeeping {
  bool pinned = false;     // never unloaded to make room for another, nor for being idle
  bool on_demand = false;  // not loaded before it is asked for
};

// Thread-safe. Loads one model at a time, on a thread of its own: those that somebody waits for
// first, in the order of their first requests, then the others, in the order they were added. A
// second thread watches the engines meanwhile. An engine whose pipeline fails becomes kFailed and
// is loaded again after a back-off (LoadRetry); its status says so.
//
// Where there is no memory for a model that is asked for, others give theirs back, one after the
// other until there is (choose_for_room): idle ones at once, busy ones after their last stream.
// They rest then, until they are asked for themselves.
//
// When a cap of the ledger shrinks below what is held, models leave (choose_leaving): one that
// loads is told to stop, idle ones go at once, also while another loads or waits for a pause to
// end, busy ones when their last stream has ended; no stream is cut short. They load again, as do
// models that were refused memory, when some device's room has grown, or after a while (LoadRetry).
class EngineRegistry {
 public:
  explicit EngineRegistry(const Clock& clock, const RegistryOptions& options = {});
  // Whoever waits is refused.
  ~EngineRegistry();

  // kInvalidArgument when the name is taken.
  Status add(std::string name, EngineLoader loader, ModelKeeping keeping = {});
  // Another name for a model that was added. kInvalidArgument when it is taken, kNotFound when
  // there is no such model.
  Status add_alias(std::string alias, std::string_view name);

  // Names are aliases, too. kNotFound with the nearest names; kUnavailable while loading
  // (retry_after, progress in the message), resting, or when failed (why); kExhausted or
  // kDoesNotFit, with the ledger's numbers, for want of memory.
  Result<std::shared_ptr<TextEngine>> find(std::string_view name) const;
  // Asks for a model, which is loaded if it is not. Ready: a hold on it, and no call comes. Empty:
  // one of `calls` will, at `latest` (steady) with what find() would say then. An error: what
  // waiting cannot mend, or too many wait (kExhausted); no call comes.
  Result<std::optional<ModelHold>> want(std::string_view name, TimePoint latest,
                                        std::stop_token gone, ModelCalls calls);

  std::vector<ModelStatus> list() const;
  // All models ready (a token was made by each), or resting.
  bool ready() const;
  // A cap has changed: when it returns, nobody finds a model that must leave. Waits neither for
  // streams nor for memory to be given back.
  void look();
  // Stops loading, refuses who waits, drains every engine until `deadline`.
  void drain(TimePoint deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gogrid

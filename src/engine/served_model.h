// One model of the registry: its engine or what is known of it, and what becomes of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "engine/load_retry.h"
#include "engine/model_status.h"
#include "engine/model_waiters.h"
#include "engine/text_engine.h"

namespace gogrid {

// Makes an engine; called on the registry's loading thread. Tells progress only once it has begun
// to do what costs (slices, weights): a refusal before is cheap to ask for again.
using EngineLoader =
    std::function<Result<std::unique_ptr<TextEngine>>(const LoadProgress&, std::stop_token)>;

// An engine to be destroyed, which joins its threads: under no lock.
using RetiredEngine = std::shared_ptr<TextEngine>;

// The state of a model, and how it changes. Who decides is the registry, whose lock guards it: not
// thread-safe, and nothing blocks. `rooms`: what the devices could grant at the moment.
struct ServedModel {
  ServedModel(EngineLoader loader_in, TimePoint now) : loader(std::move(loader_in)), retry(now) {}

  // A try that had no memory.
  struct Vain {
    std::uint64_t returns;  // how often the registry had given memory back when it began
    ErrorCode code;
  };

  const EngineLoader loader;
  const ModelHold hold = std::make_shared<const int>(0);
  ModelStatus status;
  LoadRetry retry;
  ModelWaiters waiters;
  TimePoint used;  // when it last computed, or was asked for
  TimePoint ready_since;
  bool rests = false;        // loads for those who wait for it alone
  bool makes_room = false;   // leaves for another model, not for a cap
  std::optional<Vain> vain;  // the last try

  bool has_name(std::string_view name) const;
  bool is_idle() const;  // no streams, running or waiting; there must be an engine
  // Streams, or somebody is about to send it a request, or reads its status just now.
  bool is_busy() const;

  // Loading. A source to tell the loader to stop by.
  std::stop_source begin();
  void become_ready(std::unique_ptr<TextEngine> engine, TimePoint now);
  // For want of memory; `others_can`: give theirs back, so that it rests until it is asked for.
  void be_refused(const Error& why, Vain try_of, bool others_can);
  // The engine, or its loader.
  RetiredEngine fail_for(const Error& why, TimePoint now);
  // Told to stop loading, for a cap; then has stopped.
  void give_up(const std::string& excess, const Rooms& rooms, TimePoint now);
  bool was_told_to_give_up() const { return !given_up_.empty(); }
  void has_given_up();

  // Takes no new requests from now on.
  void leave_for_cap(const std::string& excess);
  void leave_for(const std::string& other);
  // Need not leave any more.
  void stay();
  // Whether it can go: nobody has its engine, and nobody finds it.
  bool has_left() const { return status.engine.use_count() == 1 && is_idle(); }
  RetiredEngine unload_for_cap(const std::string& excess, const Rooms& rooms, TimePoint now);
  // Not loaded before it is asked for.
  void become_resting(std::string why);
  RetiredEngine rest(std::string why);

 private:
  bool gave_back_ = false;  // was ready once: what is refused it now is not refused for ever
  std::stop_source giving_up_;
  std::string given_up_;  // why it was told to
  std::string refused_;   // for want of memory: what was said of it last
};

}  // namespace gogrid

// Requests that wait for one model to be loaded.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace gogrid {

// While it lives, its model is not unloaded to make room for another, nor for being idle.
using ModelHold = std::shared_ptr<const void>;

// `ready` or `refused` is called once; neither when whoever asked has gone. From a thread of the
// registry's, one call at a time; none may block or throw.
struct ModelCalls {
  std::function<void(ModelHold hold)> ready;
  std::function<void(const Error& why)> refused;
  // How far it is, when that has changed; first after a second, for what is refused sooner is
  // better refused without, and then a second apart at least. May be empty.
  std::function<void(const std::string& why)> tell = {};
};

// Calls that are due: to be made, or let go, under no lock.
using DueCalls = std::vector<std::function<void()>>;

// In the order in which they came. Not thread-safe.
class ModelWaiters {
 public:
  static constexpr Duration kTellInterval = std::chrono::seconds(1);

  // Refused at `latest`.
  void add(TimePoint now, TimePoint latest, std::stop_token gone, ModelCalls calls);

  bool empty() const { return waiters_.empty(); }
  std::size_t size() const { return waiters_.size(); }
  // When the first of them came; there must be one.
  TimePoint since() const { return waiters_.front().since; }

  void ready(const ModelHold& hold, DueCalls& due);
  void refuse(const Error& why, DueCalls& due);
  // Forgets who has gone, refuses with `why` who has waited for long enough, and tells the others.
  void look(TimePoint now, const Error& why, DueCalls& due);

 private:
  struct Waiter {
    TimePoint since;
    TimePoint latest;
    std::stop_token gone;
    std::shared_ptr<const ModelCalls> calls;
    std::string told;
    TimePoint told_at;  // or since when it waits
  };
  static void tell(Waiter& waiter, TimePoint now, const std::string& why, DueCalls& due);

  std::list<Waiter> waiters_;
};

}  // namespace gogrid

// Where requests wait for their turn at a rate gate.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "resource/rate_gate.h"

namespace gogrid {

// Each of those who wait ends in one way: their time comes and `go` is called, on the turnstile's
// thread; whoever asked for them has gone, and their turn is given back in silence; or the
// turnstile closes and `refuse` is called. Thread-safe. The gate and the clock's epoch are those of
// the steady clock.
class Turnstile {
 public:
  Turnstile();
  ~Turnstile() { close(); }
  Turnstile(const Turnstile&) = delete;
  Turnstile& operator=(const Turnstile&) = delete;

  // Neither `go` nor `refuse` may block or throw. Once closed, `refuse` is called at once.
  void wait(RateGate::Wait turn, std::stop_token gone, std::function<void()> go,
            std::function<void()> refuse) EXCLUDES(mu_);

  // Refuses all who wait, and all who come later. May be called again.
  void close() EXCLUDES(mu_);

 private:
  using Place = std::pair<TimePoint, std::uint64_t>;  // when, and in the order of coming

  struct Waiter {
    Waiter(RateGate::Wait turn_in, std::function<void()> go_in, std::function<void()> refuse_in)
        : turn(std::move(turn_in)), go(std::move(go_in)), refuse(std::move(refuse_in)) {}
    RateGate::Wait turn;
    std::function<void()> go;
    std::function<void()> refuse;
    std::optional<std::stop_callback<std::function<void()>>> gone;
  };

  void run();
  std::shared_ptr<Waiter> take_next() EXCLUDES(mu_);
  void leave(const Place& place) EXCLUDES(mu_);

  Mutex mu_;
  CondVar changed_;
  std::map<Place, std::shared_ptr<Waiter>> waiters_ GUARDED_BY(mu_);
  std::uint64_t came_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace gogrid

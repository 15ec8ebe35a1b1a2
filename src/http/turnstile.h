// Where requests wait for their turn at a rate gate, in the order in which they arrived.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "resource/rate_gate.h"

namespace gogrid {

// A request takes its place when it arrives, and asks for a turn once it is known to be answerable:
// what is refused takes none. The n-th in line has the n-th turn, so whoever leaves gives back the
// last one, and all behind move up. When the rate changes, all turns are taken anew.
//
// Who has asked ends in one way: its turn comes and `go` is called; whoever wanted it has gone, and
// nothing is called any more; or `refuse` is. Thread-safe. The gate, whose clock is the steady one,
// must live until stop() has returned, and the turnstile must outlive its places.
class Turnstile {
 public:
  explicit Turnstile(RateGate& gate);
  ~Turnstile();
  Turnstile(const Turnstile&) = delete;
  Turnstile& operator=(const Turnstile&) = delete;

  // Who arrived when. Move-only. While one is kept that holds others up, nobody who came after it
  // goes: keep it for milliseconds.
  class Place {
   public:
    Place(Place&& other) noexcept
        : turnstile_(std::exchange(other.turnstile_, nullptr)), number_(other.number_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (turnstile_ != nullptr) turnstile_->forget(number_);
    }

   private:
    friend class Turnstile;
    Place(Turnstile* turnstile, std::uint64_t number) : turnstile_(turnstile), number_(number) {}
    Turnstile* turnstile_;
    std::uint64_t number_;
  };
  // `holds_up`: false for what takes long to look at. It stands where it arrived once it has asked,
  // but turns that come before are others'.
  Place arrive(bool holds_up) EXCLUDES(mu_);

  // None of them may block or throw.
  struct Calls {
    std::function<void(bool waited)> go;
    std::function<void(RateGate::Refusal)> refuse;
    // Now and then while it waits, at first after kFirstNotice; empty: need not hear of it.
    std::function<void()> tell = {};
  };
  static constexpr Duration kFirstNotice = std::chrono::seconds(1);

  enum class Answer : std::uint8_t { kWent, kWaits, kRefused };
  // `go` and `refuse` are called before it returns, or (kWaits), like `tell`, on the turnstile's
  // thread. A turn after `deadline` is refused.
  Answer ask(Place place, TimePoint deadline, std::stop_token gone, Calls calls) EXCLUDES(mu_);

  // For who waits and for newcomers. Whose turn comes too late now is refused.
  void set_rate(Rate rate) EXCLUDES(mu_);

  // Refuses all who wait, and all who come later; closes the gate. May be called again.
  void close() EXCLUDES(mu_);
  // The same, and waits for the last call: none comes after it, and the gate may end. By one
  // thread.
  void stop() EXCLUDES(mu_);

 private:
  struct Waiter {
    Waiter(TimePoint deadline_in, TimePoint tell_at_in, Calls calls_in)
        : deadline(deadline_in), calls(std::move(calls_in)), tell_at(tell_at_in) {}
    const TimePoint deadline;
    const Calls calls;
    TimePoint tell_at;  // under the turnstile's lock
    std::optional<std::stop_callback<std::function<void()>>> gone;
  };
  using WaiterPtr = std::shared_ptr<Waiter>;
  using Refused = std::pair<WaiterPtr, RateGate::Refusal>;

  // What a round of the thread calls, without the lock.
  struct Round {
    WaiterPtr goes;
    std::vector<Refused> refused;
    std::vector<WaiterPtr> told;
    bool closed = false;
    bool empty() const { return goes == nullptr && refused.empty() && told.empty() && !closed; }
  };

  void run();
  Round next_round() EXCLUDES(mu_);
  void look(TimePoint now, Round& round) REQUIRES(mu_);
  TimePoint next_look() const REQUIRES(mu_);
  bool held_up() const REQUIRES(mu_);
  TimePoint first_turn() const REQUIRES(mu_);
  void take_turns_anew(TimePoint now) REQUIRES(mu_);
  void forget(std::uint64_t number) EXCLUDES(mu_);
  void stop_preparing(std::uint64_t number, TimePoint now) REQUIRES(mu_);
  void leave(std::uint64_t number) EXCLUDES(mu_);

  Mutex mu_;
  RateGate* gate_ GUARDED_BY(mu_);  // null once it has stopped
  CondVar changed_;
  Rate rate_ GUARDED_BY(mu_);
  std::uint64_t came_ GUARDED_BY(mu_) = 0;
  std::set<std::uint64_t> preparing_ GUARDED_BY(mu_);  // hold up whoever came after them
  // By number: in the order of arrival. As many turns as waiters, in the order of time; an empty
  // one has come.
  std::map<std::uint64_t, WaiterPtr> waiters_ GUARDED_BY(mu_);
  std::deque<std::optional<RateGate::Wait>> turns_ GUARDED_BY(mu_);
  bool missed_ GUARDED_BY(mu_) = false;           // a turn came while its waiter was held up
  std::vector<Refused> refused_ GUARDED_BY(mu_);  // out of the line, not yet told
  bool closed_ GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace gogrid

// A rate limit whose callers wait for their turn, and that counts what it did.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "resource/gcra.h"

namespace gogrid {

// Of one moment: seen = granted + refused + waiting.
struct GateCounts {
  std::uint64_t seen = 0;
  std::uint64_t granted = 0;  // delayed ones among them
  std::uint64_t delayed = 0;  // had to wait, and went
  std::uint64_t refused = 0;  // too long a wait, closed, or left while waiting
  std::uint64_t waiting = 0;
};

// One for each thing that is limited: the node, a model, a principal. Waiters go in the order in
// which they came, each in a turn of its own; a wait that is given up gives its turn back if nobody
// has taken one after it, and loses it otherwise: never two go in one turn.
//
// The gate does not block: whoever is delayed waits by its own means (a timer, a queue) until
// `at()`. Thread-safe, lock-free. Must outlive its waits.
class RateGate {
 public:
  // A place in the order. Move-only; one that is dropped without go() has left.
  class Wait {
   public:
    Wait(Wait&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)), turn_(other.turn_) {}
    // The turn that was held is given up at once.
    Wait& operator=(Wait&& other) noexcept {
      Wait taken(std::move(other));
      std::swap(gate_, taken.gate_);
      std::swap(turn_, taken.turn_);
      return *this;
    }
    ~Wait();

    TimePoint at() const { return turn_.at; }
    // The turn has come and is used. Once.
    void go();
    // Stays in line without a turn, until retake(). Of several, whoever took the last turn gives
    // back first: then none is lost.
    void give_back();
    // A turn again, as if it asked now, of a rate that may be another. False, and none taken, when
    // it would come after `latest`.
    bool retake(TimePoint now, Rate rate, TimePoint latest);

   private:
    friend class RateGate;
    Wait(RateGate* gate, const Turn& turn) : gate_(gate), turn_(turn) {}
    RateGate* gate_;
    Turn turn_;
  };

  enum class Refusal : std::uint8_t {
    kTooLong,  // the turn would come after `latest`
    kTooMany,  // turns are taken already
    kClosed,
  };
  // Granted at once (empty), or a wait.
  using Answer = std::expected<std::optional<Wait>, Refusal>;

  // `max_waiting`: turns that may be taken ahead of time.
  explicit RateGate(std::uint64_t max_waiting) : max_waiting_(max_waiting) {}

  // A request at `now` under `rate`, which will not go after `latest`.
  Answer ask(TimePoint now, Rate rate, TimePoint latest);

  // Refuses all newcomers from now on; who waits may still go.
  void close() { closed_.store(true, std::memory_order_relaxed); }

  // Reads again while somebody ends a wait meanwhile.
  GateCounts counts() const;

 private:
  // Each only grows. What is shown is their sums and differences, so that it adds up whenever it is
  // read.
  struct Tallies {
    std::atomic<std::uint64_t> at_once{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> began{0};  // to wait
    std::atomic<std::uint64_t> went{0};
    std::atomic<std::uint64_t> left{0};
  };

  const std::uint64_t max_waiting_;
  Gcra gcra_;
  std::atomic<bool> closed_{false};
  Tallies tallies_;
};

}  // namespace gogrid

// Runs a few threads in every order that their atomic operations can take.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <semaphore>
#include <thread>
#include <vector>

namespace gogrid::testing {

// One execution: threads stop before each atomic operation, and one of them is let on at a time, as
// `choices` says; beyond its end the first one that can.
class Schedule {
 public:
  explicit Schedule(std::vector<std::size_t> choices) : choices_(std::move(choices)) {}

  void run(const std::vector<std::function<void()>>& bodies) {
    for (std::size_t i = 0; i < bodies.size(); ++i) lanes_.emplace_back(std::make_unique<Lane>());
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      threads.emplace_back([this, i, &bodies] {
        current() = lanes_[i].get();
        pause();
        bodies[i]();
        lanes_[i]->done = true;
        lanes_[i]->stopped.release();
      });
      lanes_[i]->stopped.acquire();
    }
    while (step()) {
    }
  }

  // The choices of the next execution; false when this was the last.
  bool advance() {
    while (!choices_.empty() && choices_.back() + 1 >= options_[choices_.size() - 1]) {
      choices_.pop_back();
    }
    if (choices_.empty()) return false;
    ++choices_.back();
    return true;
  }
  const std::vector<std::size_t>& choices() const { return choices_; }

  // Called before each operation by the thread that will do it.
  static void pause() {
    Lane* const lane = current();
    if (lane == nullptr) return;  // the test's own thread
    lane->stopped.release();
    lane->go.acquire();
  }

 private:
  struct Lane {
    std::binary_semaphore go{0};
    std::binary_semaphore stopped{0};
    bool done = false;
  };

  static Lane*& current() {
    thread_local Lane* lane = nullptr;
    return lane;
  }

  bool step() {
    std::vector<Lane*> ready;
    for (const auto& lane : lanes_) {
      if (!lane->done) ready.push_back(lane.get());
    }
    if (ready.empty()) return false;
    if (steps_ == choices_.size()) choices_.push_back(0);
    if (steps_ == options_.size()) options_.push_back(ready.size());
    Lane& lane = *ready[choices_[steps_++]];
    lane.go.release();
    lane.stopped.acquire();
    return true;
  }

  std::vector<std::size_t> choices_;
  std::vector<std::size_t> options_;  // how many there were at each step
  std::size_t steps_ = 0;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

// Calls `execute` with a schedule to run its threads by, once for each interleaving. The number of
// them.
inline std::size_t for_each_interleaving(const std::function<void(Schedule&)>& execute) {
  std::vector<std::size_t> choices;
  for (std::size_t count = 1;; ++count) {
    Schedule schedule(choices);
    execute(schedule);
    if (!schedule.advance()) return count;
    choices = schedule.choices();
  }
}

// std::atomic, but each operation is a point where another thread may come between.
template <class T>
class SteppedAtomic {
 public:
  SteppedAtomic(T value) : value_(value) {}  // NOLINT: as std::atomic

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    Schedule::pause();
    return value_.load(order);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order) {
    return compare_exchange_strong(expected, desired, order);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order) {
    Schedule::pause();
    return value_.compare_exchange_strong(expected, desired, order);
  }

 private:
  std::atomic<T> value_;
};

}  // namespace gogrid::testing

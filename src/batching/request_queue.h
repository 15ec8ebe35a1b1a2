// Requests that wait for a slot: bounded, fair between principals.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "request/generation_request.h"
#include "request/response_sink.h"

namespace gogrid {

struct Submission {
  GenerationRequest request;
  std::shared_ptr<ResponseSink> sink;
};

// When somebody who waits is told why: once in each pause, and whenever nothing came for
// kLongestSilence.
class Silence {
 public:
  explicit Silence(TimePoint begin = {}) : since_(begin) {}

  void broken(TimePoint now) { since_ = now; }
  // True when it is to be told now, which is then taken as done. `pause`: the number of the pause;
  // 0 while there is none.
  bool break_if_due(TimePoint now, std::uint64_t pause) {
    const bool news = pause != 0 && pause != told_of_;
    if (!news && now - since_ < kLongestSilence) return false;
    since_ = now;
    if (pause != 0) told_of_ = pause;
    return true;
  }

 private:
  TimePoint since_;
  std::uint64_t told_of_ = 0;  // the last pause
};

struct QueuedRequest {
  Submission submission;
  TimePoint since;
  Silence silence = Silence(since);
};

// First come, first served within a principal. Between principals: who has the fewest sequences
// running goes first, then who was served longest ago; so one that asks for a hundred streams holds
// up another's first for the rest of one stream at most.
//
// Not thread-safe.
class RequestQueue {
 public:
  explicit RequestQueue(std::size_t capacity) : capacity_(capacity) {}

  bool full() const { return size_ >= capacity_; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  // Only when not full().
  void push(QueuedRequest request);
  // What pop() would give; null when empty.
  const QueuedRequest* front() const;
  // Its principal counts as running until ended(). Empty when nothing waits.
  std::optional<QueuedRequest> pop();
  void ended(const std::string& principal);
  void for_each(const std::function<void(QueuedRequest&)>& visit);
  // Takes out all for which `condition` holds.
  std::vector<QueuedRequest> remove_if(const std::function<bool(const QueuedRequest&)>& condition);

 private:
  struct Principal {
    std::deque<QueuedRequest> waiting;
    std::size_t running = 0;
    std::uint64_t served = 0;  // number of the last pop that was its own
  };
  using Principals = std::map<std::string, Principal>;
  Principals::const_iterator next() const;
  void forget_if_idle(Principals::iterator principal);

  const std::size_t capacity_;
  std::size_t size_ = 0;
  std::uint64_t pops_ = 0;
  Principals principals_;  // only those that wait or run
};

}  // namespace gogrid

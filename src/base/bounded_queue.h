// A queue that cannot grow past its capacity: the only way values pass between threads here.
#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"

namespace gogrid {

enum class PushResult : unsigned char { kPushed, kFull, kClosed };

// First in, first out. Thread-safe, any number of producers and consumers. After close() nothing
// goes in, what is inside still comes out.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Takes `value` only on kPushed; otherwise it is untouched and stays the caller's.
  PushResult try_push(T&& value) EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      if (closed_) return PushResult::kClosed;
      if (items_.size() >= capacity_) return PushResult::kFull;
      items_.push_back(std::move(value));
    }
    filled_.notify_one();
    return PushResult::kPushed;
  }

  // Waits for a place until `deadline` (kFull when it passed).
  PushResult push_until(T&& value, TimePoint deadline) EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      while (!closed_ && items_.size() >= capacity_) {
        if (!emptied_.wait_until(mu_, deadline) && items_.size() >= capacity_) {
          return closed_ ? PushResult::kClosed : PushResult::kFull;
        }
      }
      if (closed_) return PushResult::kClosed;
      items_.push_back(std::move(value));
    }
    filled_.notify_one();
    return PushResult::kPushed;
  }

  // Waits for a value; empty once the queue is closed and drained.
  std::optional<T> pop() EXCLUDES(mu_) {
    std::optional<T> value;
    {
      MutexLock lock(mu_);
      while (items_.empty() && !closed_) filled_.wait(mu_);
      if (items_.empty()) return std::nullopt;
      value.emplace(std::move(items_.front()));
      items_.pop_front();
    }
    emptied_.notify_one();
    return value;
  }

  // Like pop(), but gives up at `deadline`.
  std::optional<T> pop_until(TimePoint deadline) EXCLUDES(mu_) {
    std::optional<T> value;
    {
      MutexLock lock(mu_);
      while (items_.empty() && !closed_) {
        if (!filled_.wait_until(mu_, deadline)) break;
      }
      if (items_.empty()) return std::nullopt;
      value.emplace(std::move(items_.front()));
      items_.pop_front();
    }
    emptied_.notify_one();
    return value;
  }

  void close() EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      closed_ = true;
    }
    filled_.notify_all();
    emptied_.notify_all();
  }

  std::size_t size() const EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return items_.size();
  }
  std::size_t capacity() const { return capacity_; }

 private:
  const std::size_t capacity_;
  mutable Mutex mu_;
  CondVar filled_;
  CondVar emptied_;
  std::deque<T> items_ GUARDED_BY(mu_);
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace gogrid

// Threads for what may take milliseconds (templates, tokenization), with a bounded queue before
// them.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "obs/log.h"

namespace gogrid {

// Thread-safe.
class WorkerPool {
 public:
  WorkerPool(std::size_t threads, std::size_t queue) : queue_(queue) {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }
  ~WorkerPool() { stop(); }

  // Finishes what was accepted, and takes no more. By one thread.
  void stop() {
    stopped_ = true;
    queue_.close();
    threads_.clear();
  }

  bool stopped() const { return stopped_; }

  // False when the queue is full: `work` was not taken.
  bool try_post(std::function<void()>&& work) {
    return queue_.try_push(std::move(work)) == PushResult::kPushed;
  }

 private:
  void run() {
    while (auto work = queue_.pop()) {
      try {
        (*work)();
      } catch (const std::exception& error) {
        log::error("http_worker_threw", {{"what", std::string_view(error.what())}});
      } catch (...) {
        log::error("http_worker_threw", {{"what", std::string_view("not a std::exception")}});
      }
    }
  }

  std::atomic<bool> stopped_{false};
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::jthread> threads_;  // last: joined first
};

}  // namespace gogrid

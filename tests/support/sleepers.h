// Threads that do nothing until the end of their scope.
#pragma once

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace gogrid::testing {

class Sleepers {
 public:
  // All of them have begun when it returns.
  explicit Sleepers(int count) : begun_(count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        begun_.count_down();
        end_.wait(false);
      });
    }
    begun_.wait();
  }
  ~Sleepers() {
    end_ = true;
    end_.notify_all();
  }

 private:
  std::latch begun_;
  std::atomic<bool> end_ = false;
  std::vector<std::jthread> threads_;  // last: joined first
};

}  // namespace gogrid::testing

// Stopping is always the same: refuse new work, wait for the last one out.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "base/mutex.h"

namespace gogrid {

// Thread-safe. Must outlive its passes.
class Gate {
 public:
  // Being inside. Move-only; leaving is its destructor.
  class Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept {
      std::swap(gate_, other.gate_);
      return *this;
    }
    ~Pass() {
      if (gate_ != nullptr) gate_->leave();
    }

   private:
    friend class Gate;
    explicit Pass(Gate* gate) : gate_(gate) {}
    Gate* gate_;
  };

  // Empty once the gate is closing.
  std::optional<Pass> enter() EXCLUDES(mu_);

  // Refuses newcomers from now on. May be called again.
  void begin_close() EXCLUDES(mu_);

  // begin_close(), then waits until everyone has left.
  void close() EXCLUDES(mu_);

  std::size_t inside() const EXCLUDES(mu_);

 private:
  void leave() EXCLUDES(mu_);

  mutable Mutex mu_;
  CondVar empty_;
  std::size_t inside_ GUARDED_BY(mu_) = 0;
  bool closing_ GUARDED_BY(mu_) = false;
};

}  // namespace gogrid

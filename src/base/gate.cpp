#include "base/gate.h"

namespace gogrid {

std::optional<Gate::Pass> Gate::enter() {
  MutexLock lock(mu_);
  if (closing_) return std::nullopt;
  ++inside_;
  return Pass(this);
}

void Gate::begin_close() {
  MutexLock lock(mu_);
  closing_ = true;
}

void Gate::close() {
  MutexLock lock(mu_);
  closing_ = true;
  while (inside_ > 0) empty_.wait(mu_);
}

std::size_t Gate::inside() const {
  MutexLock lock(mu_);
  return inside_;
}

void Gate::leave() {
  // Notified under the lock: whoever waits in close() may destroy the gate as soon as it can take
  // the lock.
  MutexLock lock(mu_);
  if (--inside_ == 0) empty_.notify_all();
}

}  // namespace gogrid

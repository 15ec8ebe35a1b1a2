#include "http/turnstile.h"

namespace gogrid {

Turnstile::Turnstile() : thread_([this] { run(); }) {}

void Turnstile::wait(RateGate::Wait turn, std::stop_token gone, std::function<void()> go,
                     std::function<void()> refuse) {
  const auto waiter = std::make_shared<Waiter>(std::move(turn), std::move(go), std::move(refuse));
  Place place;
  {
    MutexLock lock(mu_);
    if (!closed_) {
      place = {waiter->turn.at(), came_++};
      waiters_.emplace(place, waiter);
      changed_.notify_one();
    }
  }
  if (place == Place{}) return waiter->refuse();
  // Not under the lock: it may be called at once. Whoever is gone from the map is left alone.
  waiter->gone.emplace(std::move(gone), [this, place] { leave(place); });
}

void Turnstile::leave(const Place& place) {
  std::shared_ptr<Waiter> waiter;  // ends after the lock: its turn is given back there
  MutexLock lock(mu_);
  const auto found = waiters_.find(place);
  if (found == waiters_.end()) return;
  waiter = std::move(found->second);
  waiters_.erase(found);
}

std::shared_ptr<Turnstile::Waiter> Turnstile::take_next() {
  MutexLock lock(mu_);
  while (!closed_) {
    if (waiters_.empty()) {
      changed_.wait(mu_);
      continue;
    }
    const TimePoint at = waiters_.begin()->first.first;
    if (at <= SteadyClock().now()) {
      auto waiter = std::move(waiters_.begin()->second);
      waiters_.erase(waiters_.begin());
      return waiter;
    }
    changed_.wait_until(mu_, at);
  }
  return nullptr;
}

void Turnstile::run() {
  while (const auto waiter = take_next()) {
    waiter->turn.go();
    waiter->go();
  }
}

void Turnstile::close() {
  std::map<Place, std::shared_ptr<Waiter>> left;
  {
    MutexLock lock(mu_);
    closed_ = true;
    left.swap(waiters_);
    changed_.notify_one();
  }
  for (const auto& [place, waiter] : left) waiter->refuse();
}

}  // namespace gogrid

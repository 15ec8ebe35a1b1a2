#include "engine/model_waiters.h"

#include <utility>

namespace gogrid {

void ModelWaiters::add(TimePoint now, TimePoint latest, std::stop_token gone, ModelCalls calls) {
  waiters_.push_back({.since = now,
                      .latest = latest,
                      .gone = std::move(gone),
                      .calls = std::make_shared<const ModelCalls>(std::move(calls)),
                      .told = {},
                      .told_at = now});
}

void ModelWaiters::ready(const ModelHold& hold, DueCalls& due) {
  for (Waiter& waiter : std::exchange(waiters_, {})) {
    due.emplace_back([calls = std::move(waiter.calls), gone = std::move(waiter.gone), hold] {
      if (!gone.stop_requested()) calls->ready(hold);
    });
  }
}

void ModelWaiters::refuse(const Error& why, DueCalls& due) {
  for (Waiter& waiter : std::exchange(waiters_, {})) {
    due.emplace_back([calls = std::move(waiter.calls), gone = std::move(waiter.gone), why] {
      if (!gone.stop_requested()) calls->refused(why);
    });
  }
}

void ModelWaiters::look(TimePoint now, const Error& why, DueCalls& due) {
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    const bool gone = waiter->gone.stop_requested();
    if (!gone && now < waiter->latest) {
      tell(*waiter++, now, why.message, due);
      continue;
    }
    due.emplace_back([calls = std::move(waiter->calls), gone, why] {
      if (!gone) calls->refused(why);
    });
    waiter = waiters_.erase(waiter);
  }
}

void ModelWaiters::tell(Waiter& waiter, TimePoint now, const std::string& why, DueCalls& due) {
  if (waiter.told == why || !waiter.calls->tell) return;
  if (now - waiter.told_at < kTellInterval) return;
  waiter.told = why;
  waiter.told_at = now;
  due.emplace_back([calls = waiter.calls, why] { calls->tell(why); });
}

}  // namespace gogrid

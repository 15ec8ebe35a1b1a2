#include "resource/governor.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "obs/log.h"

namespace gogrid {

std::string_view name_of(PauseReason reason) {
  constexpr std::array<std::string_view, kPauseReasons> kNames = {"operator", "policy", "schedule",
                                                                  "power",    "heat",   "load"};
  return kNames[static_cast<std::size_t>(reason)];
}

Governor::Governor(const Clock& clock, Metrics* metrics) : clock_(clock), metrics_(metrics) {}

void Governor::pause(PauseReason reason, std::string why, std::optional<TimePoint> until) {
  MutexLock lock(mu_);
  const TimePoint now = clock_.now();
  settle(now);
  if (until && *until <= now) return;
  const bool was_running = !any();
  auto& request = requests_[static_cast<std::size_t>(reason)];
  if (!request) {
    log::info("paused", {{"reason", name_of(reason)}, {"why", why}});
    if (metrics_ != nullptr) metrics_->count_pause(name_of(reason));
  }
  request = Request{std::move(why), until};
  if (was_running) since_ = now;
  asked_ = true;
}

bool Governor::resume(PauseReason reason) {
  MutexLock lock(mu_);
  const TimePoint now = clock_.now();
  settle(now);
  auto& request = requests_[static_cast<std::size_t>(reason)];
  if (!request) return false;
  log::info("resumed", {{"reason", name_of(reason)}});
  request.reset();
  if (!any()) {
    before_ += now - *std::exchange(since_, std::nullopt);
    asked_ = false;
  }
  return true;
}

GovernorState Governor::state() const {
  MutexLock lock(mu_);
  settle(clock_.now());
  GovernorState state;
  bool open_end = false;
  for (const auto& request : requests_) {
    if (!request) continue;
    if (!state.paused) state.why = request->why;
    state.paused = true;
    open_end = open_end || !request->until;
    if (request->until)
      state.until = std::max(state.until.value_or(*request->until), *request->until);
  }
  if (open_end) state.until.reset();
  return state;
}

bool Governor::runs() const {
  if (!asked_.load(std::memory_order_relaxed)) return true;
  MutexLock lock(mu_);
  settle(clock_.now());
  return !any();
}

bool Governor::wait(const std::stop_token& stop) const {
  while (!stop.stop_requested()) {
    if (runs()) return true;
    std::this_thread::sleep_for(kWaitPoll);
  }
  return false;
}

Duration Governor::paused_time() const {
  MutexLock lock(mu_);
  const TimePoint now = clock_.now();
  settle(now);
  return before_ + (since_ ? now - *since_ : Duration(0));
}

void Governor::settle(TimePoint now) const {
  if (!since_) return;
  TimePoint end = *since_;
  for (auto& request : requests_) {
    if (!request || !request->until || *request->until > now) continue;
    end = std::max(end, *request->until);
    request.reset();
  }
  if (any()) return;
  before_ += end - *std::exchange(since_, std::nullopt);
  asked_ = false;
  log::info("resumed", {{"reason", std::string_view("the time is over")}});
}

bool Governor::any() const {
  return std::ranges::any_of(requests_, [](const auto& request) { return request.has_value(); });
}

bool wait_to_run(const Governor* governor, const std::stop_token& stop) {
  return governor == nullptr ? !stop.stop_requested() : governor->wait(stop);
}

}  // namespace gogrid

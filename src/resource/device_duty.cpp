#include "resource/device_duty.h"

#include <utility>

#include "resource/duty_cycle.h"

namespace gogrid {

// Guarded by the duty's lock.
struct DeviceDuty::Turn::Period {
  TimePoint begun{};
  std::optional<TimePoint> ended;  // of the last step that has ended in it
  std::size_t computing = 0;
};

namespace {

bool is_all(Share share) { return share.millionths() == Share::kWhole; }

}  // namespace

DeviceDuty::DeviceDuty(ShareOf share, const Clock& clock)
    : share_(std::move(share)), clock_(clock) {}
DeviceDuty::~DeviceDuty() = default;

DeviceDuty::Turn::~Turn() {
  if (duty_ != nullptr) duty_->end(*of_);
}

DeviceDuty::Period& DeviceDuty::period_of(const std::string& device) {
  std::unique_ptr<Period>& period = periods_[device];
  if (period == nullptr) period = std::make_unique<Period>();
  return *period;
}

TimePoint DeviceDuty::free_at(const Period& period, Share share) const {
  if (!period.ended || is_all(share)) return TimePoint{};
  return period.computing > 0 ? kUntold : rests_until(period.begun, *period.ended, share);
}

// A period in which all of the time might be used is none to rest for.
void DeviceDuty::join(Period& period, Share share) {
  if (period.computing == 0 || is_all(share)) {
    period.begun = clock_.now();
    period.ended.reset();
  }
  ++period.computing;
}

std::optional<DeviceDuty::Turn> DeviceDuty::try_begin(const std::string& device) {
  const Share share = share_(device);
  MutexLock lock(mu_);
  Period& period = period_of(device);
  if (clock_.now() < free_at(period, share)) return std::nullopt;
  join(period, share);
  return Turn(*this, period);
}

DeviceDuty::Turn DeviceDuty::begin(const std::string& device) {
  const Share share = share_(device);
  MutexLock lock(mu_);
  Period& period = period_of(device);
  // Into a rest it lets nobody in with it: that goes on after it.
  if (clock_.now() < free_at(period, share))
    ++period.computing;
  else
    join(period, share);
  return Turn(*this, period);
}

TimePoint DeviceDuty::free_at(const std::string& device) const {
  const Share share = share_(device);
  MutexLock lock(mu_);
  const auto found = periods_.find(device);
  return found == periods_.end() ? TimePoint{} : free_at(*found->second, share);
}

void DeviceDuty::listen(std::weak_ptr<DutyListener> listener) {
  MutexLock lock(mu_);
  std::erase_if(listeners_, [](const auto& known) { return known.expired(); });
  listeners_.push_back(std::move(listener));
}

void DeviceDuty::end(Period& period) {
  std::vector<std::shared_ptr<DutyListener>> told;
  {
    MutexLock lock(mu_);
    period.ended = clock_.now();
    if (--period.computing > 0) return;
    for (const auto& listener : listeners_) {
      if (auto alive = listener.lock()) told.push_back(std::move(alive));
    }
  }
  for (const auto& listener : told) listener->duty_changed();
}

}  // namespace gogrid

// When the stages of a device may compute, and when all of them rest: one account for each device,
// whichever models have stages on it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/share.h"

namespace gogrid {

// Told when a device may be computed on again, or when that is known. Called without locks, on the
// thread that gave its turn back; must not block.
class DutyListener {
 public:
  virtual ~DutyListener() = default;
  virtual void duty_changed() = 0;
};

// A device computes in periods: one begins with a step on a device at rest, others may join it
// until the first of them ends, and when the last has ended the device rests for what the share
// asks of the whole period (rests_until() in duty_cycle.h). So it is bounded by two steps, and no
// model's steps fill the rest of another's. Where all of the time may be used nobody waits, and
// nothing is owed for it.
//
// Thread-safe. `clock` must outlive it, and its turns must not.
class DeviceDuty {
 public:
  // Asked whenever it matters, so that a change is in force at once. Must not block.
  using ShareOf = std::function<Share(const std::string& device)>;

  // A step that computes; given back when it has ended.
  class Turn {
   public:
    Turn(Turn&& other) noexcept : duty_(std::exchange(other.duty_, nullptr)), of_(other.of_) {}
    // What it was is given back at once.
    Turn& operator=(Turn&& other) noexcept {
      const Turn before(std::move(*this));
      duty_ = std::exchange(other.duty_, nullptr);
      of_ = other.of_;
      return *this;
    }
    // Calls listeners: hold no lock that they take.
    ~Turn();

   private:
    friend class DeviceDuty;
    struct Period;
    Turn(DeviceDuty& duty, Period& of) : duty_(&duty), of_(&of) {}
    DeviceDuty* duty_;
    Period* of_;
  };

  DeviceDuty(ShareOf share, const Clock& clock);
  ~DeviceDuty();
  DeviceDuty(const DeviceDuty&) = delete;
  DeviceDuty& operator=(const DeviceDuty&) = delete;

  // Empty: not yet, see free_at().
  std::optional<Turn> try_begin(const std::string& device) EXCLUDES(mu_);
  // Whatever the share says: for what must end.
  Turn begin(const std::string& device) EXCLUDES(mu_);
  // When a step may begin, by the share of now: a time that has passed, or the end of a rest;
  // kUntold while others compute, and then listeners are told.
  TimePoint free_at(const std::string& device) const EXCLUDES(mu_);
  static constexpr TimePoint kUntold = TimePoint::max();

  // As long as it lives.
  void listen(std::weak_ptr<DutyListener> listener) EXCLUDES(mu_);

 private:
  using Period = Turn::Period;

  Period& period_of(const std::string& device) REQUIRES(mu_);
  TimePoint free_at(const Period& period, Share share) const REQUIRES(mu_);
  void join(Period& period, Share share) REQUIRES(mu_);
  void end(Period& period) EXCLUDES(mu_);

  const ShareOf share_;
  const Clock& clock_;
  mutable Mutex mu_;
  std::map<std::string, std::unique_ptr<Period>, std::less<>> periods_ GUARDED_BY(mu_);
  std::vector<std::weak_ptr<DutyListener>> listeners_ GUARDED_BY(mu_);
};

}  // namespace gogrid

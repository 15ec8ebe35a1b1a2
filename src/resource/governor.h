// Whether to compute now: one answer to all who ask for rest.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/mutex.h"
#include "obs/metrics.h"

namespace gogrid {

// Who asks; the first of those who do is named.
enum class PauseReason : std::uint8_t { kOperator, kPolicy, kSchedule, kPower, kHeat, kLoad };
inline constexpr std::size_t kPauseReasons = 6;
std::string_view name_of(PauseReason reason);  // "operator", …

struct GovernorState {
  bool paused = false;
  std::string why;                 // for people; empty while running
  std::optional<TimePoint> until;  // empty while paused: until somebody resumes
};

// Work goes on while nobody asks for a pause; each reason has one, which a later one of the same
// reason replaces. Asked before every step, so that a pause begins at a step's end.
//
// Thread-safe. `clock` and `metrics` (may be null) must outlive it.
class Governor {
 public:
  explicit Governor(const Clock& clock, Metrics* metrics = nullptr);

  // Until then, or until resume() when empty. A time that has passed is no pause. While it is
  // paused for that reason already it goes on with the new text and time, and counts as the same
  // pause.
  void pause(PauseReason reason, std::string why, std::optional<TimePoint> until) EXCLUDES(mu_);
  // False when it was not paused for that reason.
  bool resume(PauseReason reason) EXCLUDES(mu_);

  GovernorState state() const EXCLUDES(mu_);
  // Lock-free while nobody asks for a pause.
  bool runs() const;
  // For long jobs, between two pieces of work: returns once work may go on (looked at every
  // kWaitPoll, in real time), or false once `stop` is requested.
  bool wait(const std::stop_token& stop) const EXCLUDES(mu_);
  static constexpr std::chrono::milliseconds kWaitPoll{20};
  // All pauses so far, this one too. Deadlines of requests stand still meanwhile.
  Duration paused_time() const EXCLUDES(mu_);

 private:
  struct Request {
    std::string why;
    std::optional<TimePoint> until;
  };

  // Ends what is over at `now`.
  void settle(TimePoint now) const REQUIRES(mu_);
  bool any() const REQUIRES(mu_);

  const Clock& clock_;
  Metrics* const metrics_;
  mutable Mutex mu_;
  mutable std::array<std::optional<Request>, kPauseReasons> requests_ GUARDED_BY(mu_);
  mutable std::optional<TimePoint> since_ GUARDED_BY(mu_);  // of this pause
  mutable Duration before_ GUARDED_BY(mu_){0};              // all pauses that are over
  mutable std::atomic<bool> asked_{false};                  // any request, perhaps over
};

// The same where there may be no governor, and then never a pause.
bool wait_to_run(const Governor* governor, const std::stop_token& stop);

}  // namespace gogrid

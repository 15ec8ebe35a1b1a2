#include "resource/owner_presence.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <exception>
#include <system_error>
#include <utility>

#include "obs/log.h"

namespace gogrid {
namespace {

void log_change(const Presence& before, const Presence& now) {
  if (before.state == now.state && before.why == now.why) return;
  log::info("owner_presence", {{"state", name_of(now.state)}, {"why", std::string_view(now.why)}});
}

std::unexpected<Error> cannot_start(const std::error_code& error) {
  return fail(ErrorCode::kExhausted,
              "[owner_presence] expected to start a thread of its own: " + error.message());
}

}  // namespace

Result<std::unique_ptr<OwnerPresence>> OwnerPresence::start(const OwnerPresenceOptions& options,
                                                            const Clock& clock, Listener listener) {
  GOGRID_ASSIGN_OR_RETURN(SessionWatchOpener open, logind_sessions(options.logind));
  return start(std::move(open), options, clock, std::move(listener));
}

Result<std::unique_ptr<OwnerPresence>> OwnerPresence::start(SessionWatchOpener open,
                                                            const OwnerPresenceOptions& options,
                                                            const Clock& clock, Listener listener) {
  FileDescriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return cannot_start({errno, std::generic_category()});
  std::unique_ptr<OwnerPresence> presence(
      new OwnerPresence(std::move(open), options, clock, std::move(listener), std::move(wake)));
  try {
    MutexLock lock(presence->stop_mu_);
    presence->thread_ =
        std::jthread([self = presence.get()](const std::stop_token& stop) { self->run(stop); });
  } catch (const std::system_error& error) {
    return cannot_start(error.code());
  }
  return presence;
}

OwnerPresence::OwnerPresence(SessionWatchOpener open, const OwnerPresenceOptions& options,
                             const Clock& clock, Listener listener, FileDescriptor wake)
    : open_(std::move(open)),
      options_(options),
      clock_(clock),
      listener_(std::move(listener)),
      wake_(std::move(wake)),
      current_(unknown_presence("not asked yet", {PresenceState::kNobody, {}, ""}, clock.now())) {}

Presence OwnerPresence::current() const {
  MutexLock lock(mu_);
  return current_;
}

void OwnerPresence::stop() {
  MutexLock stopping(stop_mu_);
  if (!thread_.joinable()) return;
  thread_.request_stop();
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
  const TimePoint now = clock_.now();
  MutexLock lock(mu_);
  current_ = unknown_presence("stopped", current_, now);
}

void OwnerPresence::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      follow(stop);
    } catch (const std::exception& error) {
      see_nothing(std::string("[owner_presence] ") + error.what());
    }
    rest(options_.retry);
  }
}

// Until the connection is gone, or `stop`.
void OwnerPresence::follow(const std::stop_token& stop) {
  auto watch = open_();
  if (!watch) return see_nothing(std::move(watch.error().message));
  while (!stop.stop_requested()) {
    auto sessions = (*watch)->sessions();
    if (sessions) {
      see(*sessions);
    } else {
      see_nothing(std::move(sessions.error().message));
      if (sessions.error().code == ErrorCode::kUnavailable) return;
    }
    const auto waited = (*watch)->wait(options_.poll, wake_.get());
    if (!waited) return see_nothing(waited.error().message);
    rest(options_.settle);
  }
}

void OwnerPresence::rest(std::chrono::milliseconds limit) const {
  pollfd wake{wake_.get(), POLLIN, 0};
  ::poll(&wake, 1, static_cast<int>(limit.count()));
}

void OwnerPresence::see(const std::vector<SessionFacts>& sessions) {
  publish(presence_of(sessions, current(), clock_.now()));
}

void OwnerPresence::see_nothing(std::string why) {
  publish(unknown_presence(std::move(why), current(), clock_.now()));
}

void OwnerPresence::publish(Presence presence) {
  Presence before;
  {
    MutexLock lock(mu_);
    before = std::exchange(current_, presence);
  }
  if (before == presence) return;
  log_change(before, presence);
  if (listener_) listener_(presence);
}

}  // namespace gogrid

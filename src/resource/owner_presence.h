// Follows whether somebody is at this machine.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/file_descriptor.h"
#include "base/mutex.h"
#include "base/result.h"
#include "resource/presence.h"
#include "resource/session_watch.h"

namespace gogrid {

struct OwnerPresenceOptions {
  LogindOptions logind;
  // Looks this often also where nothing is signalled: the idle hint of text consoles never is.
  // Longer: such a console's owner is noticed later.
  std::chrono::milliseconds poll{30'000};
  // Between a connection that is gone, or refused, and the next.
  std::chrono::milliseconds retry{5'000};
  // From a look to the next at the least: logging in signals dozens of changes. Longer: presence
  // is noticed later.
  std::chrono::milliseconds settle{100};
};

// One thread of its own. Thread-safe.
class OwnerPresence {
 public:
  // Called on the presence's own thread at each change of what current() gives. Must neither block
  // nor throw, nor call stop().
  using Listener = std::function<void(const Presence&)>;

  // Follows systemd-logind. A bus or a logind that is not there is no error but kUnknown: they may
  // come. Errors: those of logind_sessions(), and kExhausted where no thread could be started.
  // `clock` must outlive the result, and be the system's monotonic one: logind's dates are.
  static Result<std::unique_ptr<OwnerPresence>> start(const OwnerPresenceOptions& options,
                                                      const Clock& clock, Listener listener = {});
  // The same for another session manager.
  static Result<std::unique_ptr<OwnerPresence>> start(SessionWatchOpener open,
                                                      const OwnerPresenceOptions& options,
                                                      const Clock& clock, Listener listener = {});
  ~OwnerPresence() { stop(); }
  OwnerPresence(const OwnerPresence&) = delete;
  OwnerPresence& operator=(const OwnerPresence&) = delete;

  // Never waits for the session manager.
  Presence current() const EXCLUDES(mu_);

  // Waits until the thread has ended; from then on current() is kUnknown, and the listener is not
  // called any more. May be called again.
  void stop() EXCLUDES(stop_mu_, mu_);

 private:
  OwnerPresence(SessionWatchOpener open, const OwnerPresenceOptions& options, const Clock& clock,
                Listener listener, FileDescriptor wake);
  void run(const std::stop_token& stop);
  void follow(const std::stop_token& stop);
  void rest(std::chrono::milliseconds limit) const;
  void see(const std::vector<SessionFacts>& sessions);
  void see_nothing(std::string why);
  void publish(Presence presence) EXCLUDES(mu_);

  const SessionWatchOpener open_;
  const OwnerPresenceOptions options_;
  const Clock& clock_;
  const Listener listener_;
  const FileDescriptor wake_;  // readable once stopping

  mutable Mutex mu_;
  Presence current_ GUARDED_BY(mu_);

  Mutex stop_mu_;
  std::jthread thread_ GUARDED_BY(stop_mu_);  // last: it uses all of the above
};

}  // namespace gogrid

// Who tells of this machine's login sessions.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "resource/presence.h"

namespace gogrid {

// A connection to the session manager. Not thread-safe: one thread opens, uses and destroys it.
class SessionWatch {
 public:
  virtual ~SessionWatch() = default;

  // All sessions as they are now.
  //   kUnavailable  the connection is gone: open another
  //   other codes   no answer this time, or none that could be read: ask again after wait()
  virtual Result<std::vector<SessionFacts>> sessions() = 0;

  // Returns when a session may have changed since sessions() began, after `limit`, or when `wake`
  // (a file descriptor) has something to read. An error: the connection is gone.
  virtual Status wait(Duration limit, int wake) = 0;
};

using SessionWatchOpener = std::function<Result<std::unique_ptr<SessionWatch>>()>;

struct LogindOptions {
  // "unix:path=…", several separated by ";"; empty: $DBUS_SYSTEM_BUS_ADDRESS, and without that the
  // system's usual socket. Other kinds are refused: one of them starts a program.
  std::string bus_address;
  // For connecting, and for each look at all sessions. Stopping may take as long.
  std::chrono::milliseconds timeout{2000};
};

// systemd-logind, or elogind, over D-Bus. Reads only; starts neither. kInvalidArgument for an
// address; kUnsupported in a build without libsystemd (GOGRID_LOGIND).
Result<SessionWatchOpener> logind_sessions(const LogindOptions& options);

}  // namespace gogrid

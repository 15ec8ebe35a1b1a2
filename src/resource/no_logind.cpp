// Built in place of logind.cpp where libsystemd is not there.
#include "resource/session_watch.h"

namespace gogrid {

Result<SessionWatchOpener> logind_sessions(const LogindOptions&) {
  return fail(
      ErrorCode::kUnsupported,
      "[logind] expected a build with libsystemd (GOGRID_LOGIND=ON): this one is without, so "
      "nobody tells whether somebody is at this machine");
}

}  // namespace gogrid

// The time zone of this machine.
#pragma once

#include <chrono>

#include "base/result.h"

namespace gogrid {

// `tz_variable` is the environment's TZ: a zone's name ("Europe/Berlin", with or without a colon
// before it, or the path of its file); null where it is not set, and then the zone is the one of
// /etc/localtime or /etc/timezone, and UTC without either. Reads these at each call: a zone that
// was set is seen at the next. The result lives as long as the process.
//
// kUnsupported where the system has no time zone data; kInvalidArgument for a TZ that names no
// zone, POSIX rules like "CET-1CEST" among them.
Result<const std::chrono::time_zone*> local_zone(const char* tz_variable);

}  // namespace gogrid

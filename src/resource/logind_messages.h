// What logind's messages say, read into facts. Only in a build with libsystemd.
#pragma once

#include <string>
#include <vector>

#include "resource/presence.h"

struct sd_bus_message;

namespace gogrid {

struct SessionName {
  std::string id;
  std::string path;  // of its object on the bus
};

// The reply to ListSessions, "a(susso)": at most kMaxSessions of them. Negative: -errno, as of all
// of sd-bus.
inline constexpr std::size_t kMaxSessions = 512;
int read_session_names(sd_bus_message* message, std::vector<SessionName>& names);

// The reply to GetAll of a session's properties, "a{sv}". One that is unknown, or of another type
// than documented, is passed over: as if it were absent.
int read_session_properties(sd_bus_message* message, SessionFacts& facts);

}  // namespace gogrid

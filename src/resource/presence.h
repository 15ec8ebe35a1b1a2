// Is somebody at this machine? What its login sessions say about that.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace gogrid {

enum class PresenceState : std::uint8_t {
  kPresent,  // a session in front, neither idle nor locked
  kIdle,     // none of these, but one that is open: idle, or behind another
  kLocked,   // every session is locked
  kNobody,   // no session of a person at this machine
  kUnknown,  // nobody tells; `why` says what is missing
};
std::string_view name_of(PresenceState state);  // "present", …

struct Presence {
  PresenceState state = PresenceState::kUnknown;
  TimePoint since;  // as the sessions say it; else when it was seen first
  std::string why;  // of kUnknown only

  bool operator==(const Presence&) const = default;
};

// One login session as its session manager shows it. A property that it does not have is as below:
// taken for what disturbs the owner least.
struct SessionFacts {
  std::string id = {};
  std::string session_class = "user";  // "greeter", "background", "manager", … are no person
  std::string type = "unspecified";    // "x11", "wayland", "mir", "tty", …
  std::string state = "online";        // "active", "closing"
  std::string seat = {};               // "seat0"; empty: none, as with ssh
  bool remote = false;
  bool active = true;  // in front on its seat
  bool idle = false;
  bool locked = false;
  // When `idle` last changed, on the clock of TimePoint; empty: not told.
  std::optional<TimePoint> idle_changed = {};

  bool operator==(const SessionFacts&) const = default;
};

// Whether the session is a person's at this machine: on one of its seats, or a desktop, also one
// that is seen from elsewhere. A remote shell is not: its load is seen as others' load is.
bool is_owners(const SessionFacts& session);

// The presence after `before`, seen at `now`. A change that the sessions date in the future, or
// before the machine was up, is dated `now`.
Presence presence_of(std::span<const SessionFacts> sessions, const Presence& before, TimePoint now);

// The same when nobody can tell.
Presence unknown_presence(std::string why, const Presence& before, TimePoint now);

}  // namespace gogrid

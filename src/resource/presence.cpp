#include "resource/presence.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace gogrid {
namespace {

constexpr std::array<std::string_view, 5> kStates{"present", "idle", "locked", "nobody", "unknown"};

bool is_desktop(std::string_view type) {
  return type == "x11" || type == "wayland" || type == "mir";
}

// What one session of the owner's says alone.
PresenceState state_of(const SessionFacts& session) {
  if (session.locked) return PresenceState::kLocked;
  // Behind another session, or behind the greeter: whoever is at the machine is not in this one.
  return session.idle || !session.active ? PresenceState::kIdle : PresenceState::kPresent;
}

// When a session came into this state, by the date of its idle hint, where that is what the hint's
// date means. Locking and going behind another session have no date, and the one of a text console
// that is in use is its last input. One that cannot be is none.
std::optional<TimePoint> told_since(const SessionFacts& session, PresenceState state,
                                    TimePoint now) {
  const bool dated = state == PresenceState::kPresent
                         ? is_desktop(session.type)
                         : state == PresenceState::kIdle && session.idle;
  if (!dated || !session.idle_changed) return std::nullopt;
  if (*session.idle_changed <= TimePoint() || *session.idle_changed > now) return std::nullopt;
  return session.idle_changed;
}

// When all the sessions together came into it: the first to be in use makes somebody present, the
// last to become idle makes nobody so. Not told by one is not known of all.
std::optional<TimePoint> told_since(std::span<const SessionFacts* const> owners,
                                    PresenceState state, TimePoint now) {
  std::optional<TimePoint> since;
  for (const SessionFacts* session : owners) {
    if (state_of(*session) != state) continue;
    const auto told = told_since(*session, state, now);
    if (!told) return std::nullopt;
    const bool first = state == PresenceState::kPresent;
    since = !since ? told : first ? std::min(since, told) : std::max(since, told);
  }
  return since;
}

}  // namespace

std::string_view name_of(PresenceState state) {
  return kStates.at(static_cast<std::size_t>(state));
}

bool is_owners(const SessionFacts& session) {
  // "user", "user-early", "user-light", "user-incomplete".
  const std::string_view kind = session.session_class;
  if (kind != "user" && !kind.starts_with("user-")) return false;
  if (session.state == "closing") return false;  // logged out; some process stayed
  return is_desktop(session.type) || (!session.remote && !session.seat.empty());
}

Presence presence_of(std::span<const SessionFacts> sessions, const Presence& before,
                     TimePoint now) {
  std::vector<const SessionFacts*> owners;
  for (const SessionFacts& session : sessions)
    if (is_owners(session)) owners.push_back(&session);
  PresenceState state = PresenceState::kNobody;
  // The states stand in the order in which one outweighs the next.
  for (const SessionFacts* session : owners) state = std::min(state, state_of(*session));
  const TimePoint seen = before.state == state ? before.since : now;
  return {state, told_since(owners, state, now).value_or(seen), ""};
}

Presence unknown_presence(std::string why, const Presence& before, TimePoint now) {
  const bool still = before.state == PresenceState::kUnknown;
  return {PresenceState::kUnknown, still ? before.since : now, std::move(why)};
}

}  // namespace gogrid

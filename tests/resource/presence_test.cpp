#include "resource/presence.h"

#include <gtest/gtest.h>

#include <vector>

namespace gogrid {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

const TimePoint kNow{hours(10)};
const TimePoint kEarlier{hours(9)};

SessionFacts desktop() {
  return {.id = "c1", .type = "wayland", .state = "active", .seat = "seat0"};
}

SessionFacts console() { return {.id = "3", .type = "tty", .state = "active", .seat = "seat0"}; }

SessionFacts with(SessionFacts facts, auto change) {
  change(facts);
  return facts;
}

SessionFacts idle(SessionFacts facts, std::optional<TimePoint> changed = std::nullopt) {
  facts.idle = true;
  facts.idle_changed = changed;
  return facts;
}

SessionFacts locked(SessionFacts facts) {
  facts.locked = true;
  return facts;
}

SessionFacts behind(SessionFacts facts) {
  facts.active = false;
  facts.state = "online";
  return facts;
}

PresenceState state_of(const std::vector<SessionFacts>& sessions) {
  return presence_of(sessions, {}, kNow).state;
}

TimePoint since(const std::vector<SessionFacts>& sessions, const Presence& before = {}) {
  return presence_of(sessions, before, kNow).since;
}

TEST(Presence, WithoutSessionsThereIsNobody) { EXPECT_EQ(state_of({}), PresenceState::kNobody); }

TEST(Presence, ADesktopInUseIsSomebody) {
  for (const char* type : {"x11", "wayland", "mir"}) {
    const auto session = with(desktop(), [&](SessionFacts& s) { s.type = type; });
    EXPECT_EQ(state_of({session}), PresenceState::kPresent) << type;
  }
}

TEST(Presence, ATextConsoleOnASeatIsSomebody) {
  EXPECT_EQ(state_of({console()}), PresenceState::kPresent);
  EXPECT_EQ(state_of({idle(console())}), PresenceState::kIdle);
}

TEST(Presence, ASessionThatSaysNothingOfItselfIsTakenForSomebodyInUse) {
  const SessionFacts bare{.id = "1", .seat = "seat0"};
  EXPECT_EQ(state_of({bare}), PresenceState::kPresent);
}

TEST(Presence, ARemoteShellIsNobodyAtThisMachineAndARemoteDesktopIsSomebody) {
  const SessionFacts shell{.id = "5", .type = "tty", .remote = true};
  EXPECT_EQ(state_of({shell}), PresenceState::kNobody);
  const SessionFacts seen_from_elsewhere{.id = "6", .type = "x11", .remote = true};
  EXPECT_EQ(state_of({seen_from_elsewhere}), PresenceState::kPresent);
}

TEST(Presence, GreetersServicesAndLeavingSessionsAreNobody) {
  for (const char* kind : {"greeter", "lock-screen", "background", "background-light", "manager",
                           "manager-early", "none", "", "users"}) {
    const auto session = with(desktop(), [&](SessionFacts& s) { s.session_class = kind; });
    EXPECT_EQ(state_of({session}), PresenceState::kNobody) << kind;
  }
  for (const char* kind : {"user", "user-early", "user-light", "user-incomplete"}) {
    const auto session = with(desktop(), [&](SessionFacts& s) { s.session_class = kind; });
    EXPECT_EQ(state_of({session}), PresenceState::kPresent) << kind;
  }
  EXPECT_EQ(state_of({with(desktop(), [](SessionFacts& s) { s.state = "closing"; })}),
            PresenceState::kNobody);
}

TEST(Presence, OneInUseOutweighsAllThatAreIdleOrLocked) {
  EXPECT_EQ(state_of({locked(desktop()), idle(desktop()), desktop()}), PresenceState::kPresent);
  EXPECT_EQ(state_of({locked(desktop()), idle(desktop())}), PresenceState::kIdle);
  EXPECT_EQ(state_of({locked(desktop()), locked(console())}), PresenceState::kLocked);
}

TEST(Presence, LockedIsLockedWhetherIdleOrNot) {
  EXPECT_EQ(state_of({locked(idle(desktop()))}), PresenceState::kLocked);
  EXPECT_EQ(state_of({locked(behind(desktop()))}), PresenceState::kLocked);
}

TEST(Presence, ASessionBehindAnotherIsNotInUse) {
  EXPECT_EQ(state_of({behind(desktop())}), PresenceState::kIdle);
  EXPECT_EQ(state_of({behind(desktop()), idle(console())}), PresenceState::kIdle);
}

TEST(Presence, IsIdleSinceTheLastSessionBecameSo) {
  EXPECT_EQ(since({idle(desktop(), kEarlier)}), kEarlier);
  EXPECT_EQ(since({idle(desktop(), kEarlier), idle(console(), kEarlier + seconds(5))}),
            kEarlier + seconds(5));
}

TEST(Presence, IsPresentSinceTheFirstSessionCameIntoUse) {
  const auto dated = [](TimePoint changed) {
    return with(desktop(), [&](SessionFacts& s) { s.idle_changed = changed; });
  };
  EXPECT_EQ(since({dated(kEarlier + seconds(5)), dated(kEarlier)}), kEarlier);
}

TEST(Presence, TheLastInputOfAConsoleInUseIsNotWhenItsUseBegan) {
  const auto used = with(console(), [](SessionFacts& s) { s.idle_changed = kEarlier; });
  EXPECT_EQ(since({used}), kNow);
  EXPECT_EQ(since({used}, {PresenceState::kPresent, kEarlier - hours(1), ""}), kEarlier - hours(1));
}

TEST(Presence, WithoutADateItIsSinceItWasSeenFirst) {
  EXPECT_EQ(since({idle(desktop())}), kNow);
  EXPECT_EQ(since({idle(desktop())}, {PresenceState::kIdle, kEarlier, ""}), kEarlier);
  EXPECT_EQ(since({locked(desktop())}, {PresenceState::kIdle, kEarlier, ""}), kNow);
  EXPECT_EQ(since({idle(desktop(), kEarlier), idle(console())}), kNow);
  EXPECT_EQ(since({idle(desktop(), kEarlier), behind(desktop())}), kNow);
}

TEST(Presence, ADateThatCannotBeIsNone) {
  for (const TimePoint bad : {kNow + seconds(1), TimePoint::max(), TimePoint(), TimePoint::min()})
    EXPECT_EQ(since({idle(desktop(), bad)}), kNow);
  EXPECT_EQ(since({idle(desktop(), kNow)}), kNow);
}

TEST(Presence, UnknownKeepsItsDateWhileItsReasonChanges) {
  const Presence first = unknown_presence("no bus", {PresenceState::kIdle, kEarlier, ""}, kNow);
  EXPECT_EQ(first, (Presence{PresenceState::kUnknown, kNow, "no bus"}));
  const Presence second = unknown_presence("no logind", first, kNow + seconds(9));
  EXPECT_EQ(second, (Presence{PresenceState::kUnknown, kNow, "no logind"}));
}

TEST(Presence, StatesHaveNames) {
  EXPECT_EQ(name_of(PresenceState::kPresent), "present");
  EXPECT_EQ(name_of(PresenceState::kIdle), "idle");
  EXPECT_EQ(name_of(PresenceState::kLocked), "locked");
  EXPECT_EQ(name_of(PresenceState::kNobody), "nobody");
  EXPECT_EQ(name_of(PresenceState::kUnknown), "unknown");
}

}  // namespace
}  // namespace gogrid

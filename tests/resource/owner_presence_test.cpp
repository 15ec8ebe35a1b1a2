#include "resource/owner_presence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <future>
#include <optional>
#include <stdexcept>
#include <utility>

#include "resource/presence_log.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using testing::ManualClock;
using testing::PresenceLog;

std::vector<SessionFacts> desktop() { return {{.id = "1", .type = "wayland", .seat = "seat0"}}; }
std::vector<SessionFacts> locked_desktop() {
  auto sessions = desktop();
  sessions[0].locked = true;
  return sessions;
}

// A session manager that a test plays. Thread-safe; outlives what watches it.
class FakeManager {
 public:
  // What is said from now on, to a watch and to who opens one.
  void say(Result<std::vector<SessionFacts>> sessions) {
    {
      MutexLock lock(mu_);
      sessions_ = std::move(sessions);
    }
    ::eventfd_write(changed_.get(), 1);
  }
  void lose_connection(std::string why) {
    {
      MutexLock lock(mu_);
      lost_ = std::move(why);
    }
    ::eventfd_write(changed_.get(), 1);
  }
  void refuse(std::optional<std::string> why) {
    MutexLock lock(mu_);
    refused_ = std::move(why);
  }
  void throw_next() {
    MutexLock lock(mu_);
    throws_ = true;
  }
  int opened() const {
    MutexLock lock(mu_);
    return opened_;
  }
  int looks() const {
    MutexLock lock(mu_);
    return looks_;
  }

  SessionWatchOpener opener() {
    return [this] { return open(); };
  }

 private:
  class Watch final : public SessionWatch {
   public:
    explicit Watch(FakeManager& manager) : manager_(manager) {}
    Result<std::vector<SessionFacts>> sessions() override { return manager_.look(); }
    Status wait(Duration limit, int wake) override { return manager_.wait(limit, wake); }

   private:
    FakeManager& manager_;
  };

  Result<std::unique_ptr<SessionWatch>> open() {
    MutexLock lock(mu_);
    if (refused_) return fail(ErrorCode::kUnavailable, *refused_);
    ++opened_;
    return std::make_unique<Watch>(*this);
  }
  Result<std::vector<SessionFacts>> look() {
    MutexLock lock(mu_);
    ++looks_;
    if (std::exchange(throws_, false)) throw std::runtime_error("thrown by the fake");
    return sessions_;
  }
  Status wait(Duration limit, int wake) {
    std::array<pollfd, 2> inputs{{{changed_.get(), POLLIN, 0}, {wake, POLLIN, 0}}};
    ::poll(inputs.data(), inputs.size(),
           static_cast<int>(std::chrono::ceil<milliseconds>(limit).count()));
    eventfd_t ignored = 0;
    ::eventfd_read(changed_.get(), &ignored);
    MutexLock lock(mu_);
    if (auto lost = std::exchange(lost_, std::nullopt))
      return fail(ErrorCode::kUnavailable, *std::move(lost));
    return {};
  }

  const FileDescriptor changed_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  mutable Mutex mu_;
  Result<std::vector<SessionFacts>> sessions_ GUARDED_BY(mu_);
  std::optional<std::string> lost_ GUARDED_BY(mu_);
  std::optional<std::string> refused_ GUARDED_BY(mu_);
  bool throws_ GUARDED_BY(mu_) = false;
  int opened_ GUARDED_BY(mu_) = 0;
  int looks_ GUARDED_BY(mu_) = 0;
};

// Nothing but signals wakes it, unless a test says otherwise.
OwnerPresenceOptions quick() {
  return {.logind = {}, .poll = hours(1), .retry = milliseconds(1), .settle = milliseconds(0)};
}

// Members in the order in which they are used: the presence goes first.
struct Followed {
  explicit Followed(const OwnerPresenceOptions& options = quick()) : options_(options) {}
  void start() {
    presence = OwnerPresence::start(manager.opener(), options_, clock, log.listener()).value();
  }

  FakeManager manager;
  ManualClock clock;
  PresenceLog log;
  std::unique_ptr<OwnerPresence> presence;

 private:
  OwnerPresenceOptions options_;
};

TEST(OwnerPresence, FollowsTheSessionsAsTheyChange) {
  Followed followed;
  followed.start();
  EXPECT_EQ(followed.log.next(PresenceState::kNobody).since, followed.clock.now());
  followed.clock.advance(seconds(10));
  followed.manager.say(desktop());
  const Presence present = followed.log.next(PresenceState::kPresent);
  EXPECT_EQ(present.since, followed.clock.now());
  EXPECT_EQ(followed.presence->current(), present);
  followed.clock.advance(seconds(10));
  followed.manager.say(locked_desktop());
  EXPECT_EQ(followed.log.next(PresenceState::kLocked).since, followed.clock.now());
}

TEST(OwnerPresence, TellsNothingWhereNothingChanged) {
  Followed followed;
  followed.manager.say(desktop());
  followed.start();
  followed.log.next(PresenceState::kPresent);
  for (int i = 0; i < 5; ++i) {
    const int looks = followed.manager.looks();
    followed.clock.advance(seconds(1));
    followed.manager.say(desktop());
    while (followed.manager.looks() == looks) std::this_thread::yield();
  }
  followed.presence->stop();
  EXPECT_EQ(followed.log.size(), 1U);
}

TEST(OwnerPresence, LooksAlsoWhereNothingIsSignalled) {
  OwnerPresenceOptions options = quick();
  options.poll = milliseconds(1);
  Followed followed(options);
  followed.start();
  while (followed.manager.looks() < 3) std::this_thread::yield();
}

TEST(OwnerPresence, IsUnknownByNameWhileNobodyTellsAndComesBack) {
  Followed followed;
  followed.manager.refuse("no bus here");
  followed.start();
  EXPECT_EQ(followed.log.next(PresenceState::kUnknown).why, "no bus here");
  followed.manager.say(desktop());
  followed.manager.refuse(std::nullopt);
  followed.log.next(PresenceState::kPresent);
  EXPECT_EQ(followed.presence->current().why, "");
}

TEST(OwnerPresence, OpensAnotherConnectionWhereOneIsLost) {
  Followed followed;
  followed.manager.say(desktop());
  followed.start();
  followed.log.next(PresenceState::kPresent);
  followed.manager.lose_connection("the bus went away");
  EXPECT_EQ(followed.log.next(PresenceState::kUnknown).why, "the bus went away");
  followed.log.next(PresenceState::kPresent);
  EXPECT_EQ(followed.manager.opened(), 2);
}

TEST(OwnerPresence, KeepsTheConnectionWhereOnlyAnAnswerIsMissing) {
  Followed followed;
  followed.manager.say(fail(ErrorCode::kDeadline, "no answer in time"));
  followed.start();
  EXPECT_EQ(followed.log.next(PresenceState::kUnknown).why, "no answer in time");
  followed.manager.say(desktop());
  followed.log.next(PresenceState::kPresent);
  EXPECT_EQ(followed.manager.opened(), 1);
}

TEST(OwnerPresence, OpensAnotherWhereALookFindsTheConnectionGone) {
  Followed followed;
  followed.manager.say(fail(ErrorCode::kUnavailable, "gone while asking"));
  followed.start();
  followed.log.next([](const Presence& p) { return p.why == "gone while asking"; });
  followed.manager.say(desktop());
  followed.log.next(PresenceState::kPresent);
  EXPECT_GE(followed.manager.opened(), 2);
}

TEST(OwnerPresence, OutlivesAnExceptionAndSaysIt) {
  Followed followed;
  followed.manager.say(desktop());
  followed.manager.throw_next();
  followed.start();
  EXPECT_THAT(followed.log.next(PresenceState::kUnknown).why, HasSubstr("thrown by the fake"));
  followed.log.next(PresenceState::kPresent);
}

TEST(OwnerPresence, StopsAtOnceFromEachOfItsWaits) {
  OwnerPresenceOptions slow = quick();
  slow.retry = slow.settle = hours(1);
  {
    Followed waiting;
    waiting.start();
    waiting.log.next(PresenceState::kNobody);
    waiting.presence->stop();
    EXPECT_EQ(waiting.presence->current().why, "stopped");
    waiting.presence->stop();
  }
  {
    Followed refused(slow);
    refused.manager.refuse("no bus here");
    refused.start();
    refused.log.next(PresenceState::kUnknown);
  }
  {
    Followed settling(slow);
    settling.start();
    settling.log.next(PresenceState::kNobody);
    settling.manager.say(desktop());
  }
}

TEST(OwnerPresence, BeforeItsFirstLookItIsUnknown) {
  ManualClock clock;
  std::promise<void> asked;
  std::promise<void> answer;
  const SessionWatchOpener slow = [&]() -> Result<std::unique_ptr<SessionWatch>> {
    asked.set_value();
    answer.get_future().wait();
    return fail(ErrorCode::kUnavailable, "no bus here");
  };
  OwnerPresenceOptions options = quick();
  options.retry = hours(1);
  const auto presence = OwnerPresence::start(slow, options, clock).value();
  asked.get_future().wait();
  EXPECT_EQ(presence->current(), (Presence{PresenceState::kUnknown, clock.now(), "not asked yet"}));
  answer.set_value();
}

}  // namespace
}  // namespace gogrid

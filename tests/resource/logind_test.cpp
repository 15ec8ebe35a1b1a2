// systemd-logind over a bus of the test's own: what is asked, followed and survived.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "resource/local_zone.h"
#include "resource/machine_watch.h"
#include "resource/mock_logind.h"
#include "resource/owner_presence.h"
#include "resource/presence_log.h"
#include "support/eventually.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using testing::MockLogind;
using testing::PresenceLog;

class Logind : public ::testing::Test {
 protected:
  void SetUp() override {
    static const std::string missing = testing::missing_for_mock();
    if (!missing.empty()) GTEST_SKIP() << missing << " is not installed (scripts/setup.sh does)";
    ASSERT_NO_FATAL_FAILURE(mock_.start_bus());
  }

  // Signals alone move it, unless a test says otherwise.
  void follow(OwnerPresenceOptions options = signals_alone()) {
    options.logind.bus_address = mock_.address();
    presence_ = OwnerPresence::start(options, clock_, log_.listener()).value();
  }
  static OwnerPresenceOptions signals_alone() {
    return {.logind = {.bus_address = "", .timeout = seconds(20)},
            .poll = hours(1),
            .retry = milliseconds(20),
            .settle = milliseconds(0)};
  }
  Presence next(PresenceState state) { return log_.next(state); }
  // The next reason that holds `text`.
  std::string next_why(std::string_view text) {
    return log_.next([&](const Presence& p) { return p.why.contains(text); }).why;
  }

  static HostLoad load_of(std::uint64_t percent) {
    return {.cpu = CpuLoad{.others = Share::percent(percent), .own = Share()},
            .memory_of_others = Share(),
            .pressure = {},
            .power = Power{},
            .heat = not_known("heat", "no zone")};
  }

  const SteadyClock clock_;
  MockLogind mock_;
  PresenceLog log_;
  std::unique_ptr<OwnerPresence> presence_;  // last: it uses all of the above
};

TEST_F(Logind, IsFollowedThroughTheDayOfASessionAndTheDeathOfItsBus) {
  mock_.start_logind();
  follow();
  next(PresenceState::kNobody);
  mock_.add_session("c1");
  next(PresenceState::kPresent);
  mock_.set("c1", "IdleHint", "b", 1);
  next(PresenceState::kIdle);
  mock_.set("c1", "IdleHint", "b", 0);
  next(PresenceState::kPresent);
  mock_.set("c1", "LockedHint", "b", 1);
  next(PresenceState::kLocked);
  mock_.end_session("c1");
  next(PresenceState::kNobody);
  mock_.stop_bus();
  EXPECT_THAT(next(PresenceState::kUnknown).why, HasSubstr("[logind]"));
  mock_.start_bus();
  EXPECT_THAT(next_why("nobody has that name"), HasSubstr("org.freedesktop.login1"));
  mock_.start_logind();
  next(PresenceState::kNobody);
  mock_.add_session("c2");
  next(PresenceState::kPresent);
}

// 60 % of the CPU is below the balanced limit, and above the one that holds while somebody is
// there.
TEST_F(Logind, MakesTheGovernorGiveWaySoonerWhileSomebodyIsThere) {
  mock_.start_logind();
  const testing::TemporaryFolder folder;
  const auto policies =
      *PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), folder / "policy.json");
  const std::vector<PolicySetting> hourly{{"pause.check_s", 3600}};
  ASSERT_TRUE(policies->change(hourly, "test"));
  Governor governor(clock_);
  LogindOptions logind = signals_alone().logind;
  logind.bus_address = mock_.address();
  MachineWatch watch(*policies, governor, QuietHours(),
                     {.load = {.host = [] { return load_of(60); }, .gpu_of_others = {}},
                      .sessions = logind_sessions(logind).value(),
                      .presence = signals_alone(),
                      .wall_clock = [] { return std::chrono::sys_seconds(); },
                      .zone = [] { return local_zone("UTC"); }},
                     clock_);
  ASSERT_TRUE(watch.start());
  ASSERT_TRUE(testing::eventually([&] { return watch.load() != nullptr; }));
  EXPECT_TRUE(governor.runs());
  mock_.add_session("c1");
  EXPECT_TRUE(testing::eventually([&] { return !governor.runs(); }));
  EXPECT_EQ(governor.state().why, "others use 60 % of the CPU (limit 50 %)");
}

TEST_F(Logind, MayEndAndComeBackOnABusThatStays) {
  mock_.start_logind();
  mock_.add_session("c1");
  follow();
  next(PresenceState::kPresent);
  mock_.stop_logind();
  EXPECT_THAT(next(PresenceState::kUnknown).why, HasSubstr("nobody has that name"));
  mock_.start_logind();
  next(PresenceState::kNobody);
}

TEST_F(Logind, DatesIdlenessByTheMonotonicClock) {
  mock_.start_logind();
  mock_.add_session("c1");
  follow();
  next(PresenceState::kPresent);
  const auto since = clock_.now() - seconds(1);
  const auto told = std::chrono::floor<microseconds>(since.time_since_epoch());
  mock_.set("c1", "IdleSinceHintMonotonic", "t", static_cast<std::uint64_t>(told.count()));
  mock_.set("c1", "IdleHint", "b", 1);
  EXPECT_EQ(next(PresenceState::kIdle).since, TimePoint(told));
}

TEST_F(Logind, IsLookedAtAlsoWithoutASignal) {
  mock_.start_logind();
  mock_.add_session("c1");
  OwnerPresenceOptions polling = signals_alone();
  polling.poll = milliseconds(10);
  follow(polling);
  next(PresenceState::kPresent);
  mock_.set_silently("c1", "LockedHint", "b", 1);
  next(PresenceState::kLocked);
}

TEST_F(Logind, ClassSeatRemoteAndActiveAreReadAsTheyAreDocumented) {
  mock_.start_logind();
  follow();
  next(PresenceState::kNobody);
  mock_.add_session("c1");
  next(PresenceState::kPresent);
  mock_.set("c1", "Active", "b", 0);
  next(PresenceState::kIdle);
  mock_.set("c1", "Remote", "b", 1);
  next(PresenceState::kNobody);
  mock_.set("c1", "Type", "s", "x11");
  next(PresenceState::kIdle);
  mock_.set("c1", "Class", "s", "greeter");
  next(PresenceState::kNobody);
  mock_.set("c1", "Class", "s", "user-light");
  next(PresenceState::kIdle);
  mock_.set("c1", "State", "s", "closing");
  next(PresenceState::kNobody);
}

TEST_F(Logind, PropertiesThatAreAbsentOrOfOtherTypesAreTakenForSomebodyInUse) {
  mock_.start_logind();
  follow();
  next(PresenceState::kNobody);
  mock_.add_bare_session("bare", 0U);
  next(PresenceState::kPresent);
  mock_.end_session("bare");
  next(PresenceState::kNobody);
  mock_.add_bare_session("odd", 7U, "IdleHint", "s", "yes", "LockedHint", "au", 2U, 1U, 1U,  //
                         "Class", "b", 0, "Type", "(so)", "x", "/", "Active", "t", std::uint64_t{0},
                         "IdleSinceHintMonotonic", "t", ~std::uint64_t{0}, "Unheard", "a{sv}", 1U,
                         "of", "d", 0.5);
  next(PresenceState::kPresent);
  mock_.set("odd", "IdleHint", "b", 1);
  const Presence idle = next(PresenceState::kIdle);
  EXPECT_LE(idle.since, clock_.now());
  EXPECT_GT(idle.since, clock_.now() - hours(1));
}

TEST_F(Logind, AnAnswerThatIsNoListOfSessionsIsUnknownByName) {
  mock_.start_logind(true);
  mock_.add_method("ListSessions", "", "as", "ret = ['c1']");
  follow();
  EXPECT_THAT(next(PresenceState::kUnknown).why, HasSubstr("ListSessions as documented"));
}

TEST_F(Logind, ARefusalIsUnknownByItsName) {
  mock_.start_logind(true);
  mock_.add_method("ListSessions", "", "a(susso)",
                   "raise dbus.exceptions.DBusException('not for you', "
                   "name='org.freedesktop.DBus.Error.AccessDenied')");
  follow();
  EXPECT_THAT(next(PresenceState::kUnknown).why,
              HasSubstr("ListSessions: org.freedesktop.DBus.Error.AccessDenied, not for you"));
}

TEST_F(Logind, ASessionThatEndsBetweenTheTwoQuestionsIsNoSession) {
  mock_.start_logind(true);
  mock_.add_method("ListSessions", "", "a(susso)",
                   "ret = [('c9', 1000, 'owner', 'seat0', '/org/freedesktop/login1/session/c9')]");
  follow();
  next(PresenceState::kNobody);
}

TEST_F(Logind, WithoutAnAnswerItIsUnknownInTimeAndAskedAgain) {
  mock_.start_logind(true);
  mock_.add_method("ListSessions", "", "a(susso)",
                   "import time\n"
                   "if not hasattr(self, 'slept'):\n"
                   "  self.slept = True\n"
                   "  time.sleep(3)\n"
                   "ret = []");
  OwnerPresenceOptions impatient = signals_alone();
  impatient.logind.timeout = milliseconds(100);
  impatient.poll = milliseconds(100);
  const TimePoint begun = clock_.now();
  follow(impatient);
  EXPECT_THAT(next_why("none came in time"), HasSubstr("ListSessions"));
  EXPECT_LT(clock_.now() - begun, seconds(3));
  next(PresenceState::kNobody);
}

TEST_F(Logind, ThatDoesNotAnswerHoldsAStopNoLongerThanItsTime) {
  mock_.start_logind(true);
  mock_.add_method("ListSessions", "", "a(susso)", "import time\ntime.sleep(3)\nret = []");
  OwnerPresenceOptions impatient = signals_alone();
  impatient.logind.timeout = milliseconds(500);
  follow(impatient);
  const TimePoint begun = clock_.now();
  presence_->stop();
  EXPECT_LT(clock_.now() - begun, seconds(3));
  EXPECT_EQ(presence_->current().state, PresenceState::kUnknown);
}

// A socket that a test holds; whoever connects waits in its backlog.
class Socket {
 public:
  explicit Socket(const std::filesystem::path& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_.get(), 8), 0);
  }
  // Accepts one, says `text` to it and leaves.
  void say(std::string_view text) const {
    const FileDescriptor peer(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_EQ(::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    char question[256];
    EXPECT_GT(::recv(peer.get(), question, sizeof question, 0), 0);
  }

 private:
  FileDescriptor fd_;
};

OwnerPresenceOptions bus_at(const std::filesystem::path& socket) {
  return {.logind = {.bus_address = "unix:path=" + socket.string(), .timeout = milliseconds(100)},
          .poll = hours(1),
          .retry = hours(1),
          .settle = milliseconds(0)};
}

class Bus : public ::testing::Test {
 protected:
  Presence unknown(const OwnerPresenceOptions& options) {
    presence_ = OwnerPresence::start(options, clock_, log_.listener()).value();
    return log_.next(PresenceState::kUnknown);
  }

  const SteadyClock clock_;
  const testing::TemporaryFolder folder_;
  PresenceLog log_;
  std::unique_ptr<OwnerPresence> presence_;
};

TEST_F(Bus, ThatIsNotThereIsUnknownByItsAddress) {
  const auto path = folder_ / "none";
  EXPECT_EQ(unknown(bus_at(path)).why, "[logind] expected a bus at unix:path=" + path.string() +
                                           ": No such file or directory");
}

TEST_F(Bus, ThatNeverAnswersIsUnknownInTime) {
  const Socket silent(folder_ / "silent");
  EXPECT_THAT(unknown(bus_at(folder_ / "silent")).why, HasSubstr("timed out"));
}

TEST_F(Bus, ThatSpeaksAnotherProtocolIsUnknown) {
  for (const std::string& text :
       {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), std::string("REJECTED KERBEROS_V4\r\n"),
        std::string(4096, '\0'), std::string("OK 1234deadbeef\r\n")}) {
    const testing::TemporaryFolder folder;
    const Socket other(folder / "bus");
    PresenceLog log;
    OwnerPresenceOptions options = bus_at(folder / "bus");
    options.logind.timeout = seconds(20);
    const auto presence = OwnerPresence::start(options, clock_, log.listener()).value();
    other.say(text);
    EXPECT_THAT(log.next(PresenceState::kUnknown).why, HasSubstr("[logind] expected a bus at"));
  }
}

TEST_F(Bus, AddressesThatStartProgramsOrLeaveTheMachineAreRefused) {
  for (const char* address :
       {"unixexec:path=/bin/true", "tcp:host=127.0.0.1,port=1",
        "kernel:", "unix:path=/nowhere;unixexec:path=/bin/true",
        "x-machine-unix:", "unix:path=/nowhere;", "/run/dbus/system_bus_socket"}) {
    OwnerPresenceOptions options;
    options.logind.bus_address = address;
    const auto refused = OwnerPresence::start(options, clock_);
    ASSERT_FALSE(refused) << address;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr("expected unix:path="));
  }
}

}  // namespace
}  // namespace gogrid

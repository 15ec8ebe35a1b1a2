// org.freedesktop.login1(5) through sd-bus.
#include <poll.h>
#include <systemd/sd-bus.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ranges>
#include <string_view>
#include <system_error>
#include <utility>

#include "resource/logind_messages.h"
#include "resource/session_watch.h"

namespace gogrid {
namespace {

using std::chrono::microseconds;

constexpr const char* kLogind = "org.freedesktop.login1";
constexpr std::string_view kUsualAddress = "unix:path=/run/dbus/system_bus_socket";
// Handled before anything else is looked at: a flood of signals does not keep the thread.
constexpr int kMaxMessagesAtOnce = 256;
constexpr std::size_t kMaxText = 200;
// poll(2) takes an int; whoever waits longer comes back here.
constexpr std::int64_t kMaxPollMilliseconds = 60'000;

// Signals after which sessions may be others than before.
constexpr std::array<const char*, 4> kMatches{
    "type='signal',sender='org.freedesktop.login1',path_namespace='/org/freedesktop/login1/"
    "session',"
    "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.login1',path='/org/freedesktop/login1',"
    "interface='org.freedesktop.login1.Manager',member='SessionNew'",
    "type='signal',sender='org.freedesktop.login1',path='/org/freedesktop/login1',"
    "interface='org.freedesktop.login1.Manager',member='SessionRemoved'",
    "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
    "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.login1'"};

struct CloseBus {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
struct UnrefMessage {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using BusHandle = std::unique_ptr<sd_bus, CloseBus>;
using Message = std::unique_ptr<sd_bus_message, UnrefMessage>;

class BusError {
 public:
  BusError() = default;
  ~BusError() { sd_bus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;

  sd_bus_error* get() { return &error_; }
  std::string_view name() const { return error_.name != nullptr ? error_.name : ""; }
  std::string_view message() const { return error_.message != nullptr ? error_.message : ""; }

 private:
  sd_bus_error error_{};  // SD_BUS_ERROR_NULL, whose macro is C only
};

std::string reason(int error) { return std::generic_category().message(std::abs(error)); }

bool is_gone(int error) {
  return error == -ENOTCONN || error == -ECONNRESET || error == -EPIPE || error == -ESHUTDOWN ||
         error == -ECONNREFUSED;
}

std::unexpected<Error> connection_error(const std::string& address, int error) {
  return fail(ErrorCode::kUnavailable,
              "[logind] expected a bus at " + address.substr(0, kMaxText) + ": " + reason(error));
}

std::unexpected<Error> unreadable(std::string_view what, int error) {
  return fail(ErrorCode::kCorrupt, "[logind] expected an answer to " + std::string(what) +
                                       " as documented: " + reason(error));
}

// Of a call that was not answered, or answered by an error.
std::unexpected<Error> call_error(std::string_view what, int failed, const BusError& error) {
  if (is_gone(failed))
    return fail(ErrorCode::kUnavailable, "[logind] the bus is gone: " + reason(failed));
  const std::string_view name = error.name();
  if (name == SD_BUS_ERROR_SERVICE_UNKNOWN || name == SD_BUS_ERROR_NAME_HAS_NO_OWNER)
    return fail(ErrorCode::kNotFound,
                "[logind] expected org.freedesktop.login1 on the bus: nobody has that name");
  const std::string text = "[logind] expected an answer to " + std::string(what) + ": ";
  if (failed == -ETIMEDOUT || name == SD_BUS_ERROR_NO_REPLY || name == SD_BUS_ERROR_TIMEOUT)
    return fail(ErrorCode::kDeadline, text + "none came in time");
  const auto code =
      name == SD_BUS_ERROR_ACCESS_DENIED ? ErrorCode::kPermissionDenied : ErrorCode::kIo;
  if (name.empty()) return fail(code, text + reason(failed));
  return fail(code, text + std::string(name.substr(0, kMaxText)) + ", " +
                        std::string(error.message().substr(0, kMaxText)));
}

// Between ListSessions and the question for one of them it may have ended.
bool is_of_ended_session(std::string_view error) {
  return error == SD_BUS_ERROR_UNKNOWN_OBJECT || error == SD_BUS_ERROR_UNKNOWN_METHOD ||
         error == "org.freedesktop.login1.NoSuchSession";
}

// What is left until a moment; never negative.
class Deadline {
 public:
  explicit Deadline(Duration limit) : end_(std::chrono::steady_clock::now() + limit) {}
  Duration left() const {
    return std::max(Duration::zero(), Duration(end_ - std::chrono::steady_clock::now()));
  }
  bool passed() const { return left() == Duration::zero(); }

 private:
  std::chrono::steady_clock::time_point end_;
};

class Logind final : public SessionWatch {
 public:
  Logind(std::string address, microseconds timeout)
      : address_(std::move(address)), timeout_(timeout) {}

  Status connect();
  Result<std::vector<SessionFacts>> sessions() override;
  Status wait(Duration limit, int wake) override;

 private:
  int begin();
  Status handle_messages();
  Status wait_for_input(Duration limit, int wake) const;
  Result<Message> call(const char* path, const char* interface, const char* member,
                       const char* argument, Duration limit, BusError& error);
  Result<std::optional<SessionFacts>> session(const SessionName& name, Duration limit);

  const std::string address_;
  const microseconds timeout_;
  bool changed_ = false;  // since sessions() began; set by the bus's callbacks
  BusHandle bus_;         // last: its callbacks use this object
};

int note_change(sd_bus_message*, void* changed, sd_bus_error*) {
  *static_cast<bool*>(changed) = true;
  return 0;
}

// Sets up and starts; the handshake is for handle_messages().
int Logind::begin() {
  sd_bus* bus = nullptr;
  int result = sd_bus_new(&bus);
  if (result < 0) return result;
  bus_.reset(bus);
  if ((result = sd_bus_set_address(bus, address_.c_str())) < 0) return result;
  if ((result = sd_bus_set_bus_client(bus, 1)) < 0) return result;
  // Of the calls that sd-bus makes itself.
  if ((result = sd_bus_set_method_call_timeout(bus, static_cast<std::uint64_t>(timeout_.count()))) <
      0)
    return result;
  return sd_bus_start(bus);
}

Status Logind::connect() {
  const int begun = begin();
  if (begun < 0) return connection_error(address_, begun);
  const Deadline deadline(timeout_);
  int ready = 0;
  while (true) {
    GOGRID_RETURN_IF_ERROR(handle_messages());
    ready = sd_bus_is_ready(bus_.get());
    if (ready != 0) break;
    if (deadline.passed()) return connection_error(address_, -ETIMEDOUT);
    GOGRID_RETURN_IF_ERROR(wait_for_input(deadline.left(), -1));
  }
  if (ready < 0) return connection_error(address_, ready);
  for (const char* match : kMatches) {
    const int added =
        sd_bus_add_match_async(bus_.get(), nullptr, match, note_change, nullptr, &changed_);
    if (added < 0) return connection_error(address_, added);
  }
  return {};
}

Status Logind::handle_messages() {
  for (int i = 0; i < kMaxMessagesAtOnce; ++i) {
    const int handled = sd_bus_process(bus_.get(), nullptr);
    if (handled < 0) return connection_error(address_, handled);
    if (handled == 0) break;
  }
  return {};
}

Status Logind::wait_for_input(Duration limit, int wake) const {
  const int events = sd_bus_get_events(bus_.get());
  if (events < 0) return connection_error(address_, events);
  std::uint64_t due = 0;  // microseconds of CLOCK_MONOTONIC, when sd-bus has something to do
  const int timed = sd_bus_get_timeout(bus_.get(), &due);
  if (timed < 0) return connection_error(address_, timed);
  const auto now =
      std::chrono::floor<microseconds>(std::chrono::steady_clock::now().time_since_epoch());
  if (timed > 0 && due != UINT64_MAX) {
    const auto ahead = static_cast<std::int64_t>(due) - now.count();
    limit = std::min(limit, Duration(microseconds(std::max<std::int64_t>(0, ahead))));
  }
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(limit).count();
  std::array<pollfd, 2> inputs{{{sd_bus_get_fd(bus_.get()), static_cast<short>(events), 0},
                                {wake, POLLIN, 0}}};  // one below 0 is passed over
  ::poll(inputs.data(), inputs.size(),
         static_cast<int>(std::min<std::int64_t>(milliseconds, kMaxPollMilliseconds)));
  return {};
}

Status Logind::wait(Duration limit, int wake) {
  const Deadline deadline(limit);
  while (true) {
    GOGRID_RETURN_IF_ERROR(handle_messages());
    pollfd woken{wake, POLLIN, 0};
    if (changed_ || deadline.passed() || ::poll(&woken, 1, 0) > 0) return {};
    GOGRID_RETURN_IF_ERROR(wait_for_input(deadline.left(), wake));
  }
}

Result<Message> Logind::call(const char* path, const char* interface, const char* member,
                             const char* argument, Duration limit, BusError& error) {
  sd_bus_message* made = nullptr;
  int result = sd_bus_message_new_method_call(bus_.get(), &made, kLogind, path, interface, member);
  const Message request(made);
  // A look does not start what nobody else wanted.
  if (result >= 0) result = sd_bus_message_set_auto_start(request.get(), 0);
  if (result >= 0 && argument != nullptr)
    result = sd_bus_message_append(request.get(), "s", argument);
  if (result < 0) return call_error(member, result, error);
  const auto time = std::chrono::ceil<microseconds>(limit).count();
  sd_bus_message* reply = nullptr;
  // A time of 0 would be sd-bus's own.
  result =
      sd_bus_call(bus_.get(), request.get(),
                  static_cast<std::uint64_t>(std::max<std::int64_t>(1, time)), error.get(), &reply);
  if (result < 0) return call_error(member, result, error);
  return Message(reply);
}

Result<std::vector<SessionFacts>> Logind::sessions() {
  changed_ = false;
  const Deadline deadline(timeout_);
  BusError error;
  GOGRID_ASSIGN_OR_RETURN(const Message list,
                          call("/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                               "ListSessions", nullptr, deadline.left(), error));
  std::vector<SessionName> names;
  const int read = read_session_names(list.get(), names);
  if (read < 0) return unreadable("ListSessions", read);
  std::vector<SessionFacts> result;
  for (const SessionName& name : names) {
    GOGRID_ASSIGN_OR_RETURN(auto facts, session(name, deadline.left()));
    if (facts) result.push_back(*std::move(facts));
  }
  return result;
}

// Empty where it has ended meanwhile.
Result<std::optional<SessionFacts>> Logind::session(const SessionName& name, Duration limit) {
  BusError error;
  const auto reply = call(name.path.c_str(), "org.freedesktop.DBus.Properties", "GetAll",
                          "org.freedesktop.login1.Session", limit, error);
  if (!reply && is_of_ended_session(error.name())) return std::nullopt;
  if (!reply) return std::unexpected(reply.error());
  SessionFacts facts{.id = name.id};
  const int read = read_session_properties(reply->get(), facts);
  if (read < 0) return unreadable("GetAll", read);
  return facts;
}

// One of the other kinds, "unixexec:", starts a program.
Status check_address(std::string_view address) {
  for (const auto part : std::views::split(address, ';')) {
    if (std::string_view(part).starts_with("unix:")) continue;
    return fail(ErrorCode::kInvalidArgument,
                "[logind] bus address: expected unix:path=… or unix:abstract=…: '" +
                    std::string(address.substr(0, kMaxText)) + "'");
  }
  return {};
}

std::string address_of(const LogindOptions& options) {
  if (!options.bus_address.empty()) return options.bus_address;
  const char* set = std::getenv("DBUS_SYSTEM_BUS_ADDRESS");
  return set != nullptr && *set != '\0' ? std::string(set) : std::string(kUsualAddress);
}

}  // namespace

Result<SessionWatchOpener> logind_sessions(const LogindOptions& options) {
  const std::string address = address_of(options);
  GOGRID_RETURN_IF_ERROR(check_address(address));
  return [address, timeout = options.timeout]() -> Result<std::unique_ptr<SessionWatch>> {
    auto watch = std::make_unique<Logind>(address, timeout);
    GOGRID_RETURN_IF_ERROR(watch->connect());
    return watch;
  };
}

}  // namespace gogrid

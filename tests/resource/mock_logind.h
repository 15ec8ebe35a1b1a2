// A bus of the test's own, and on it python-dbusmock in the part of systemd-logind.
#pragma once

#include <gtest/gtest.h>
#include <systemd/sd-bus.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/process.h"
#include "support/temporary_folder.h"

namespace gogrid::testing {

// What of the mock is not installed; empty: nothing.
inline std::string missing_for_mock() {
  if (!std::filesystem::exists("/usr/bin/dbus-daemon")) return "dbus-daemon";
  const TemporaryFolder folder;
  // The system's Python, which has Debian's modules; another one on the PATH has not.
  const auto found = run_program({"/usr/bin/env", "/usr/bin/python3", "-c", "import dbusmock"},
                                 folder.path() / "data");
  return found.status == 0 ? "" : "python3-dbusmock";
}

// Not thread-safe. The destructor ends both programs.
class MockLogind {
 public:
  MockLogind() {
    std::ofstream(folder_.path() / "bus.conf")
        << "<busconfig><type>session</type><listen>" << address() << "</listen>"
        << "<auth>EXTERNAL</auth><policy context=\"default\">"
        << "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/>"
        << "<allow user=\"*\"/></policy></busconfig>\n";
  }
  ~MockLogind() { stop_bus(); }
  MockLogind(const MockLogind&) = delete;
  MockLogind& operator=(const MockLogind&) = delete;

  std::string address() const { return "unix:path=" + socket().string(); }
  std::filesystem::path socket() const { return folder_.path() / "bus"; }

  void start_bus() {
    daemon_ = start({"/usr/bin/dbus-daemon", "--nofork", "--print-address",
                     "--config-file=" + (folder_.path() / "bus.conf").string()});
    ASSERT_NE(daemon_->read_line(), "");  // it listens once it has printed its address
    sd_bus* bus = nullptr;
    ASSERT_GE(sd_bus_new(&bus), 0);
    bus_.reset(bus);
    ASSERT_GE(sd_bus_set_address(bus, address().c_str()), 0);
    ASSERT_GE(sd_bus_set_bus_client(bus, 1), 0);
    ASSERT_GE(sd_bus_start(bus), 0);
  }
  void stop_bus() {
    bus_.reset();
    stop_logind();
    daemon_.reset();
    std::filesystem::remove(socket());
  }

  // dbusmock's own logind, or with `bare` an object of its name without methods.
  void start_logind(bool bare = false) {
    std::vector<std::string> words{"/usr/bin/env",     "DBUS_SYSTEM_BUS_ADDRESS=" + address(),
                                   "/usr/bin/python3", "-m",
                                   "dbusmock",         "--system"};
    if (bare)
      words.insert(words.end(), {kName, kManagerPath, kManager});
    else
      words.insert(words.end(), {"--template", "logind"});
    mock_ = start(std::move(words));
    for (int i = 0; i < 2000 && !has_owner(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(has_owner());
  }
  void stop_logind() { mock_.reset(); }

  // A method of the bare object, in the mock's Python.
  void add_method(const char* name, const char* in, const char* out, const char* code) {
    call(kManagerPath, "AddMethod", "sssss", kManager, name, in, out, code);
  }

  void add_session(const char* id) {
    call(kManagerPath, "AddSession", "ssusb", id, "seat0", 1000, "owner", 1);
    signal("SessionNew", id);
  }
  // One that has `count` properties, as sd_bus_message_append() takes "{sv}", besides the three
  // that the mock's own ListSessions needs.
  template <class... Properties>
  void add_bare_session(const char* id, unsigned count, Properties... properties) {
    call(kManagerPath, "AddObject", "ssa{sv}a(ssss)", path_of(id).c_str(), kSession, count + 3,
         "User", "(uo)", 1000U, "/user", "Name", "s", "owner", "Seat", "(so)", "seat0", "/seat",
         properties..., 0U);
    signal("SessionNew", id);
  }
  // Signalled by PropertiesChanged.
  template <class... Value>
  void set(const char* id, const char* property, const char* type, Value... value) {
    call(path_of(id).c_str(), "UpdateProperties", "sa{sv}", kSession, 1U, property, type, value...);
  }
  // Not signalled, as the idle hint of a text console is not.
  template <class... Value>
  void set_silently(const char* id, const char* property, const char* type, Value... value) {
    call_of("org.freedesktop.DBus.Properties", path_of(id).c_str(), "Set", "ssv", kSession,
            property, type, value...);
  }
  void end_session(const char* id) {
    call(kManagerPath, "RemoveObject", "s", path_of(id).c_str());
    signal("SessionRemoved", id);
  }

 private:
  struct Close {
    void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
  };
  static constexpr const char* kName = "org.freedesktop.login1";
  static constexpr const char* kManagerPath = "/org/freedesktop/login1";
  static constexpr const char* kManager = "org.freedesktop.login1.Manager";
  static constexpr const char* kSession = "org.freedesktop.login1.Session";

  static std::string path_of(std::string_view id) {
    return std::string(kManagerPath) + "/session/" + std::string(id);
  }
  std::unique_ptr<Process> start(std::vector<std::string> words) {
    return std::make_unique<Process>(std::move(words),
                                     folder_.path() / ("process" + std::to_string(++started_)));
  }
  bool has_owner() {
    sd_bus_message* reply = nullptr;
    const int called =
        sd_bus_call_method(bus_.get(), "org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", "NameHasOwner", nullptr, &reply, "s", kName);
    int owned = 0;
    if (called >= 0) sd_bus_message_read(reply, "b", &owned);
    sd_bus_message_unref(reply);
    return owned != 0;
  }
  template <class... Arguments>
  void call_of(const char* interface, const char* path, const char* member, const char* types,
               Arguments... arguments) {
    sd_bus_error error = SD_BUS_ERROR_NULL;
    const int called = sd_bus_call_method(bus_.get(), kName, path, interface, member, &error,
                                          nullptr, types, arguments...);
    EXPECT_GE(called, 0) << member << ": " << (error.message != nullptr ? error.message : "");
    sd_bus_error_free(&error);
  }
  template <class... Arguments>
  void call(const char* path, const char* member, const char* types, Arguments... arguments) {
    call_of("org.freedesktop.DBus.Mock", path, member, types, arguments...);
  }
  void signal(const char* name, const char* id) {
    call(kManagerPath, "EmitSignal", "sssav", kManager, name, "so", 2U, "s", id, "o",
         path_of(id).c_str());
  }

  TemporaryFolder folder_;
  int started_ = 0;
  std::unique_ptr<Process> daemon_;
  std::unique_ptr<Process> mock_;
  std::unique_ptr<sd_bus, Close> bus_;
};

}  // namespace gogrid::testing

// `gogrid serve` from outside: its first words, its end, and what stops it from starting.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/file_descriptor.h"
#include "base/files.h"
#include "base/units.h"
#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class Serve : public ::testing::Test {
 protected:
  Serve() { write_tiny_model(model()); }
  std::string model() const { return folder_ / "tiny.gguf"; }
  std::string config(const std::string& text) const {
    EXPECT_TRUE(write_file(folder_ / "gogrid.toml", text));
    return folder_ / "gogrid.toml";
  }
  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all{GOGRID_PROGRAM, "serve",     "--model",    model(),
                                 "--device",     "cpu0",      "--parallel", "2",
                                 "--mode",       "aggressive"};  // other tests' load must not pause
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::filesystem::path data() const { return folder_ / "data"; }

  const TemporaryFolder folder_;
};

// The port in "listening on http://127.0.0.1:PORT".
int port_in(const std::string& line) {
  const std::size_t colon = line.rfind(':');
  return colon == line.npos ? 0 : std::atoi(line.c_str() + colon + 1);
}

// A client's connection to this machine.
class Connection {
 public:
  Connection(int port, const std::string& request)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      static_cast<void>(::write(socket_.get(), request.data(), request.size()));
  }
  // What comes next; empty at the end.
  std::string read_some() const {
    char buffer[4096];
    const ssize_t n = ::read(socket_.get(), buffer, sizeof buffer);
    return {buffer, static_cast<std::size_t>(std::max<ssize_t>(0, n))};
  }
  // Until the text ends so, or the connection does.
  std::string read_until(std::string_view end) const {
    std::string text;
    for (std::string piece = read_some(); !piece.empty(); piece = read_some()) {
      text += piece;
      if (!end.empty() && text.ends_with(end)) break;
    }
    return text;
  }
  std::string read_all() const { return read_until(""); }

 private:
  FileDescriptor socket_;
};

std::string ask(int port, const std::string& path) {
  return Connection(port,
                    "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      .read_all();
}

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         "Content-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

// A stream of so many tokens, after its first bytes came.
Connection stream(int port, int max_tokens) {
  const std::string body = R"({"model":"tiny","prompt":"a","stream":true,"ignore_eos":true,)"
                           R"("max_tokens":)" +
                           std::to_string(max_tokens) + "}";
  Connection connection(port, post("/v1/completions", body));
  EXPECT_THAT(connection.read_some(), StartsWith("HTTP/1.1 200"));
  return connection;
}

// Asks until the condition holds; what is waited for is another process.
template <class Condition>
bool comes_true(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST_F(Serve, SaysWhereOnceItAnswersAndEndsWithZeroOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Process server(arguments({"--listen", "127.0.0.1:0"}), data());
    const std::string line = server.read_line();
    EXPECT_THAT(line, StartsWith("listening on http://127.0.0.1:"));
    EXPECT_THAT(ask(port_in(line), "/readyz"), StartsWith("HTTP/1.1 200"));
    server.signal(signal);
    const Outcome outcome = server.finish();
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_EQ(ask(port_in(line), "/healthz"), "");
  }
}

TEST_F(Serve, FinishesWhatRunsWhenToldToStopAndRefusesWhatIsNew) {
  Process server(arguments({"--listen", "127.0.0.1:0", "--context", "2048"}), data());
  const int port = port_in(server.read_line());
  const Connection running = stream(port, 1000);
  server.signal(SIGTERM);
  EXPECT_TRUE(comes_true([&] { return !ask(port, "/readyz").starts_with("HTTP/1.1 200"); }));
  const std::string text = running.read_until("\r\n0\r\n\r\n");  // the last chunk
  const std::string end = text.substr(text.size() - std::min<std::size_t>(text.size(), 1000));
  EXPECT_THAT(end, HasSubstr(R"("finish_reason":"length")"));
  EXPECT_THAT(end, HasSubstr("data: [DONE]"));
  const Outcome outcome = server.finish();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
}

// A pause without an end, and a turn that is far off: nobody waits out the drain's deadline for
// them.
TEST_F(Serve, WaitsForNothingThatCannotComeWhenToldToStop) {
  Process server(arguments({"--listen", "127.0.0.1:0", "--context", "8192", "--limit",
                            "min_request_interval_ms=60000"}),
                 data());
  const int port = port_in(server.read_line());
  const Connection paused = stream(port, 8000);
  const Connection waiting(port, post("/v1/completions", R"({"model":"tiny","prompt":"a"})"));
  EXPECT_TRUE(comes_true([&] {
    return ask(port, "/admin/v1/resources").find(R"("waiting":1)") != std::string::npos;
  }));
  const Connection pause(port, post("/admin/v1/pause", "{}"));
  EXPECT_THAT(pause.read_some(), StartsWith("HTTP/1.1 200"));
  const auto begin = std::chrono::steady_clock::now();
  server.signal(SIGTERM);
  EXPECT_THAT(waiting.read_all(), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(paused.read_all(), HasSubstr("data: {\"error\""));
  EXPECT_EQ(server.finish().status, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(Serve, ToldTwiceItEndsAtOnce) {
  Process server(arguments({"--listen", "127.0.0.1:0", "--context", "65536"}), data());
  const int port = port_in(server.read_line());
  const Connection running = stream(port, 65'000);
  server.signal(SIGINT);
  EXPECT_TRUE(comes_true([&] { return !ask(port, "/readyz").starts_with("HTTP/1.1 200"); }));
  server.signal(SIGINT);
  const Outcome outcome = server.finish();
  EXPECT_EQ(outcome.status, -SIGINT);
  EXPECT_THAT(outcome.err, HasSubstr("told to stop twice"));
}

TEST_F(Serve, ToldToStopBeforeItServesItEndsAtOnce) {
  // Reading so much for its digest takes seconds, and nothing on the disk.
  std::filesystem::resize_file(model(), 64 * kGiB);
  Process server(arguments({"--listen", "127.0.0.1:0"}), data());
  ASSERT_TRUE(comes_true([&] { return std::filesystem::exists(data() / "digests"); }));
  server.signal(SIGTERM);
  EXPECT_EQ(server.finish().status, -SIGTERM);
}

TEST_F(Serve, TakesFromTheFileWhatNoFlagSays) {
  const std::string file = config("[server]\nlisten = \"127.0.0.1:0\"\nmodels = [\"" + model() +
                                  "\"]\ncontext = 128\n[[device]]\nid = \"cpu0\"\n");
  Process server({GOGRID_PROGRAM, "serve", "--config", file, "--context", "192", "--limit",
                  "pause.enabled=false"},
                 data());
  const std::string line = server.read_line();
  ASSERT_THAT(line, StartsWith("listening on http://127.0.0.1:"));
  const std::string status = ask(port_in(line), "/admin/v1/status");
  EXPECT_THAT(status, HasSubstr("\"context\":192"));
  EXPECT_THAT(status, HasSubstr("cpu0"));
  EXPECT_THAT(status, ::testing::Not(HasSubstr("vulkan")));
  server.signal(SIGTERM);
  EXPECT_EQ(server.finish().status, 0);
}

TEST_F(Serve, AMistakeInTheFileIsToldWithItsLine) {
  const std::string file = config("[server]\n\nlitsen = \"127.0.0.1:0\"\n");
  const Outcome outcome = run_program(arguments({"--config", file}), data());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("gogrid.toml:3: "));
  EXPECT_THAT(outcome.err, HasSubstr("did you mean listen?"));
}

TEST_F(Serve, AnAddressInUseIsAFailureThatNamesIt) {
  Process first(arguments({"--listen", "127.0.0.1:0"}), data());
  const std::string line = first.read_line();
  const std::string address = "127.0.0.1:" + std::to_string(port_in(line));
  const Outcome second = run_program(arguments({"--listen", address}), data());
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.out, IsEmpty());
  EXPECT_THAT(second.err, HasSubstr(address));
  EXPECT_THAT(ask(port_in(line), "/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(Serve, TwoModelsOfOneNameAreRefused) {
  const Outcome outcome =
      run_program(arguments({"--model", model(), "--listen", "127.0.0.1:0"}), data());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("tiny"));
}

}  // namespace
}  // namespace gogrid::testing

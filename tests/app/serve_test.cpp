// `gogrid serve` from outside: its first words, its end, and what stops it from starting.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "base/files.h"
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
    std::vector<std::string> all{GOGRID_PROGRAM, "serve", "--model",   model(),
                                 "--device",     "cpu0",  "--context", "256"};
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

// What a server on this machine says to one request; empty when there is none.
std::string ask(int port, const std::string& path) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    static_cast<void>(::write(socket, request.data(), request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(socket, buffer, sizeof buffer)) > 0;)
      answer.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(socket);
  return answer;
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

TEST_F(Serve, TakesFromTheFileWhatNoFlagSays) {
  const std::string file = config("[server]\nlisten = \"127.0.0.1:0\"\nmodels = [\"" + model() +
                                  "\"]\ncontext = 128\n[[device]]\nid = \"cpu0\"\n");
  Process server({GOGRID_PROGRAM, "serve", "--config", file, "--context", "192"}, data());
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

// The limits of a running `gogrid serve`: where they come from, that they are in force, and that
// changing them breaks nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/units.h"
#include "http/http_client.h"
#include "support/eventually.h"
#include "support/process.h"
#include "support/slowness.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kJsonHeader = "Content-Type: application/json\r\n";

// A server with a tiny model.
class Running {
 public:
  Running(const TemporaryFolder& folder, const std::vector<std::string>& more)
      : process_(words(folder, more), folder / "data") {
    const std::string line = process_.read_line();
    EXPECT_THAT(line, StartsWith("listening on http://127.0.0.1:"));
    const std::size_t colon = line.rfind(':');
    if (colon != line.npos) port_ = static_cast<std::uint16_t>(std::stoi(line.substr(colon + 1)));
  }

  static std::vector<std::string> words(const TemporaryFolder& folder,
                                        const std::vector<std::string>& more) {
    std::vector<std::string> all{GOGRID_PROGRAM, "serve", "--model",  folder / "tiny.gguf",
                                 "--device",     "cpu0",  "--listen", "127.0.0.1:0"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  HttpClient connect() const { return HttpClient(port_); }
  Json get(const std::string& path) const {
    return Json::parse(connect().request("GET", path).body, nullptr, false);
  }
  HttpReply patch(const std::string& body) const {
    return connect().request("PATCH", "/admin/v1/policy", body, kJsonHeader);
  }
  pid_t id() const { return process_.id(); }
  Outcome stop() {
    process_.signal(SIGTERM);
    return process_.finish();
  }

 private:
  Process process_;
  std::uint16_t port_ = 0;
};

class ServeLimits : public ::testing::Test {
 protected:
  ServeLimits() { write_tiny_model(folder_ / "tiny.gguf"); }
  Running serve(const std::vector<std::string>& more) const { return Running(folder_, more); }
  Outcome refused(const std::vector<std::string>& more) const {
    return run_program(Running::words(folder_, more), folder_ / "data");
  }
  const TemporaryFolder folder_;
};

TEST_F(ServeLimits, AreBalancedUnlessSomebodySaysOtherwise) {
  auto server = serve({"--limit", "pause.enabled=false"});
  EXPECT_EQ(server.get("/admin/v1/policy")["mode"], "balanced");
  EXPECT_EQ(server.stop().status, 0);
}

TEST_F(ServeLimits, AFlagStandsOverTheFileAndAPersonsChangeOverBothAlsoAfterARestart) {
  std::ofstream(folder_ / "g.toml")
      << "[resources]\nmode = \"conservative\"\nmax_batch = 3\nnice = 12\n";
  const std::vector<std::string> flags{"--config",    folder_ / "g.toml", "--limit",
                                       "max_batch=5", "--limit",          "pause.enabled=false"};
  {
    auto server = serve(flags);
    const Json policy = server.get("/admin/v1/policy");
    EXPECT_EQ(policy["mode"], "conservative");
    EXPECT_EQ(policy["nice"], 12);
    EXPECT_EQ(policy["max_batch"], 5);
    EXPECT_EQ(server.patch(R"({"max_batch":7})").status, 200);
    EXPECT_EQ(server.stop().status, 0);
  }
  auto server = serve(flags);
  EXPECT_EQ(server.get("/admin/v1/policy")["max_batch"], 7);
  EXPECT_EQ(server.connect().request("DELETE", "/admin/v1/policy").status, 200);
  EXPECT_EQ(server.get("/admin/v1/policy")["max_batch"], 5);
  EXPECT_EQ(server.stop().status, 0);
}

TEST_F(ServeLimits, ThatAreNotAllowedAreWrongUsageThatNamesThem) {
  const Outcome outcome = refused({"--limit", "max_compute=70", "--limit", "max_batch=0"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("--limit: max_compute: expected a number 0..1, got 70"),
                                 HasSubstr("max_batch")));
  EXPECT_EQ(refused({"--limit", "max_compute"}).status, 2);
}

// The hours of a whole day: nothing is computed, not even to measure the devices.
TEST_F(ServeLimits, AStartInQuietHoursWaitsSaysWhyAndCanBeEnded) {
  std::ofstream(folder_ / "g.toml")
      << "[[resources.schedule]]\nfrom = \"00:00\"\nto = \"24:00\"\nmode = \"off\"\n";
  Process server(Running::words(folder_, {"--config", folder_ / "g.toml"}), folder_ / "data");
  const auto log = [&] {
    std::ostringstream text;
    text << std::ifstream(folder_ / "data.stderr").rdbuf();
    return text.str();
  };
  EXPECT_TRUE(eventually([&] { return log().contains("paused (quiet hours): "); })) << log();
  EXPECT_TRUE(fs::is_empty(folder_ / "data/digests"));
  EXPECT_TRUE(fs::is_empty(folder_ / "data/slices"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.finish().status, -SIGTERM);
}

TEST_F(ServeLimits, ADamagedFileOfChangesIsNoStart) {
  fs::create_directories(folder_ / "data");
  std::ofstream(fs::path(folder_ / "data") / "policy.json") << "{\"max_compute\": 7}";
  const Outcome outcome = refused({});
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("policy.json"), HasSubstr("remove the file")));
}

// What the kernel says of one thread.
struct Scheduling {
  int nice = 0;
  int policy = 0;
  int io_class = 0;
  bool operator==(const Scheduling&) const = default;
};

// nice and policy are the 19th and the 41st field of stat (proc_pid_stat(5)); what stands before
// the last ')' may hold anything.
Scheduling scheduling_of(const fs::path& task) {
  std::ifstream file(task / "stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 1));
  std::vector<std::string> fields{"pid", "name"};
  for (std::string field; rest >> field;) fields.push_back(field);
  if (fields.size() < 41) return {};
  constexpr int kOfProcess = 1;  // IOPRIO_WHO_PROCESS
  constexpr int kClassShift = 13;
  const long io = ::syscall(SYS_ioprio_get, kOfProcess, std::stoi(task.filename()));
  return {std::stoi(fields[18]), std::stoi(fields[40]), static_cast<int>(io >> kClassShift)};
}

// Threads that begin and end meanwhile are none of ours.
std::vector<Scheduling> all_threads(pid_t process) {
  std::vector<Scheduling> threads;
  const fs::path tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& task : fs::directory_iterator(tasks)) threads.push_back(scheduling_of(task));
  return threads;
}

TEST_F(ServeLimits, ThePriorityIsInForceInEveryThreadAndFollowsThePolicy) {
  if (::geteuid() != 0 && ::getpriority(PRIO_PROCESS, 0) != 0) GTEST_SKIP() << "starts at nice";
  constexpr int kIdle = 5;  // SCHED_IDLE
  auto server = serve({"--mode", "conservative", "--limit", "pause.enabled=false"});
  auto threads = all_threads(server.id());
  EXPECT_GT(threads.size(), 5U);
  EXPECT_THAT(threads, ::testing::Each(Scheduling{15, kIdle, 3}));
  std::string oom_score;
  std::ifstream("/proc/" + std::to_string(server.id()) + "/oom_score_adj") >> oom_score;
  EXPECT_EQ(oom_score, "300");

  ASSERT_EQ(server.patch(R"({"nice":19,"io_class":2,"io_level":6})").status, 200);
  EXPECT_THAT(all_threads(server.id()), ::testing::Each(Scheduling{19, kIdle, 2}));
  const Json priority = server.get("/admin/v1/resources")["priority"];
  EXPECT_TRUE(priority["as_wanted"]) << priority;
  EXPECT_EQ(priority["wanted"]["nice"], "19");
  EXPECT_EQ(priority["in_force"]["nice"], "19");
  EXPECT_EQ(server.stop().status, 0);
}

// The model's part of the status.
Json model_of(const Running& server) { return server.get("/admin/v1/status")["models"][0]; }

Bytes held(const Running& server) { return server.get("/admin/v1/resources")["ledger"][0]["held"]; }

HttpReply complete(const Running& server) {
  return server.connect().request("POST", "/v1/completions",
                                  R"({"model":"tiny","prompt":"a","max_tokens":2})", kJsonHeader);
}

TEST_F(ServeLimits, AnIdleModelLeavesAsSoonAsItsCapShrinksAndReturnsWhenItGrows) {
  auto server = serve({"--mode", "aggressive", "--limit", "pause.enabled=false"});
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(complete(server).status, 200) << round;
    ASSERT_GT(held(server), 0U);
    ASSERT_EQ(server.patch(R"({"max_device_memory":0})").status, 200);
    // At once, and not only when somebody looks next.
    ASSERT_NE(model_of(server)["state"], "ready") << round;
    ASSERT_TRUE(eventually([&] { return model_of(server)["state"] == "unloaded"; }));
    ASSERT_TRUE(eventually([&] { return held(server) == 0; }));
    const HttpReply refused = complete(server);
    EXPECT_EQ(refused.status, 503);
    EXPECT_THAT(refused.body, HasSubstr("gave its memory back"));
    ASSERT_EQ(server.patch(R"({"max_device_memory":0.9})").status, 200);
    ASSERT_TRUE(eventually([&] { return model_of(server)["state"] == "ready"; }));
  }
  EXPECT_EQ(complete(server).status, 200);
  EXPECT_EQ(server.stop().status, 0);
}

// Nothing is measured, and nothing kept of another run.
TEST_F(ServeLimits, ACapOfNothingAtTheStartIsAStatusUntilItGrows) {
  auto server = serve(
      {"--mode", "aggressive", "--limit", "pause.enabled=false", "--limit", "max_device_memory=0"});
  EXPECT_EQ(model_of(server)["state"], "failed");
  EXPECT_THAT(model_of(server)["why"].get<std::string>(), HasSubstr("cap 0 B"));
  EXPECT_EQ(complete(server).status, 422);
  EXPECT_TRUE(fs::is_empty(folder_ / "data/measurements"));
  ASSERT_EQ(server.patch(R"({"max_device_memory":0.9})").status, 200);
  ASSERT_TRUE(eventually([&] { return model_of(server)["state"] == "ready"; }));
  EXPECT_EQ(complete(server).status, 200);
  EXPECT_EQ(server.stop().status, 0);
}

// Random values, a third of them not allowed.
class RandomPolicies {
 public:
  struct Change {
    std::string body;
    bool allowed = true;
  };

  Change next() {
    Json body = Json::object();
    bool allowed = true;
    const int settings = 1 + below(4);
    for (int i = 0; i < settings; ++i) allowed = add(body) && allowed;
    return {body.dump(), allowed};
  }

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  double share() { return below(101) / 100.0; }

  // A fault has a name of its own, so that nothing allowed comes to stand over it.
  bool add(Json& body) {
    const int kind = below(13);
    if (kind == 0) body["max_compute"] = share();
    if (kind == 1) body["max_batch"] = 1 + below(16);
    if (kind == 2) body["nice"] = below(20);
    if (kind == 3) body["io_class"] = 2 + below(2);
    if (kind == 4) body["min_request_interval_ms"] = below(100);
    if (kind == 5) body["devices"]["cpu0"]["max_compute"] = share();
    if (kind == 6) body["devices"]["cpu0"]["max_compute"] = nullptr;
    if (kind == 7) body["pause"]["check_s"] = 1 + below(5);
    if (kind == 8) body["pause"]["cpu"] = share();
    if (kind == 9) body["max_device_memory"] = share() * below(2);  // often less than is held
    if (kind == 10) body["pause"]["memory"] = 1.0 + 1.0 / (1 + below(100));
    if (kind == 11) body["io_level"] = 8 + below(5);
    if (kind == 12) body["max_speed"] = share();
    return kind < 10;
  }

  std::mt19937 random_{20261124};  // NOLINT: the same changes in each run
};

constexpr int kStreams = 16;
constexpr int kTokens = 1200;  // of a long stream

// The text of one; empty when it broke.
std::string text_of_stream(const Running& server, int number, int tokens = kTokens) {
  HttpClient client = server.connect();
  const Json body{{"model", "tiny"},      {"prompt", "stream " + std::to_string(number)},
                  {"max_tokens", tokens}, {"temperature", 0},
                  {"ignore_eos", true},   {"stream", true}};
  client.send_request("POST", "/v1/completions", body.dump(), kJsonHeader);
  const HttpReply reply = client.receive();
  if (reply.status != 200 || !reply.body.ends_with("data: [DONE]\n\n")) return {};
  if (!reply.body.contains(R"("finish_reason":"length")")) return {};
  std::string text;
  std::istringstream lines(reply.body);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("data: {")) continue;
    const Json json = Json::parse(line.substr(6));
    for (const Json& choice : json["choices"]) text += choice.value("text", "");
  }
  return text;
}

std::vector<std::string> texts_of_streams(const Running& server, int count, int tokens = kTokens) {
  std::vector<std::future<std::string>> streams;
  for (int i = 0; i < count; ++i) {
    streams.push_back(std::async(
        std::launch::async, [&server, i, tokens] { return text_of_stream(server, i, tokens); }));
  }
  std::vector<std::string> texts;
  for (auto& stream : streams) texts.push_back(stream.get());
  return texts;
}

TEST_F(ServeLimits, NoStepHasMoreSequencesThanMaxBatchFromTheNextOneOn) {
  auto server =
      serve({"--mode", "aggressive", "--limit", "pause.enabled=false", "--parallel", "4"});
  constexpr int kEach = 80;
  const auto steps_of_four = [&] {
    const int before = model_of(server)["totals"]["steps"];
    for (const std::string& text : texts_of_streams(server, 4, kEach)) EXPECT_FALSE(text.empty());
    return model_of(server)["totals"]["steps"].get<int>() - before;
  };
  ASSERT_EQ(server.patch(R"({"max_batch":1})").status, 200);
  EXPECT_GE(steps_of_four(), 4 * kEach);
  ASSERT_EQ(server.patch(R"({"max_batch":16})").status, 200);
  EXPECT_LT(steps_of_four(), 4 * kEach);
  EXPECT_EQ(server.stop().status, 0);
}

TEST_F(ServeLimits, ADeviceComputesForItsShareOfTheTime) {
  auto server = serve({"--mode", "aggressive", "--limit", "pause.enabled=false"});
  const auto busy = [&] {
    return server.get("/admin/v1/resources")["duty"][0]["busy_s"].get<double>();
  };
  ASSERT_EQ(server.patch(R"({"max_compute":0.1})").status, 200);
  const double before = busy();
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::duration<double> all{};
  for (; all < std::chrono::seconds(1); all = std::chrono::steady_clock::now() - begin) {
    ASSERT_FALSE(text_of_stream(server, 0, 30).empty());
  }
  EXPECT_LT((busy() - before) / all.count(), 0.2);
  EXPECT_EQ(server.stop().status, 0);
}

TEST_F(ServeLimits, AThousandChangesWhileSixteenStreamsRunBreakNoneAndReloadNothing) {
  auto server = serve({"--mode", "aggressive", "--limit", "pause.enabled=false", "--deterministic",
                       "--context", "2048", "--parallel", "16"});
  const auto quiet = texts_of_streams(server, kStreams);
  for (const std::string& text : quiet) ASSERT_FALSE(text.empty());
  const Json before = model_of(server);
  auto streams = std::async(std::launch::async, [&] { return texts_of_streams(server, kStreams); });
  // A cap below what is held lets nobody in.
  ASSERT_TRUE(eventually([&] { return model_of(server)["streams"]["running"] == kStreams; }));

  RandomPolicies policies;
  const int changes = 1000 / kSlowness;
  int allowed = 0;
  Json in_force = server.get("/admin/v1/policy");
  for (int i = 0; i < changes; ++i) {
    const auto change = policies.next();
    const HttpReply reply = server.patch(change.body);
    ASSERT_EQ(reply.status, change.allowed ? 200 : 400) << change.body << reply.body;
    allowed += change.allowed ? 1 : 0;
    if (change.allowed) in_force = Json::parse(reply.body);
    // A change with a fault is refused whole.
    ASSERT_EQ(server.get("/admin/v1/policy"), in_force) << change.body;
  }
  EXPECT_EQ(streams.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_GT(allowed, changes / 5);
  EXPECT_LT(allowed, changes * 4 / 5);
  EXPECT_EQ(server.connect().request("DELETE", "/admin/v1/policy").status, 200);
  EXPECT_TRUE(streams.get() == quiet);  // not printed: long, and no text for people
  const Json after = model_of(server);
  EXPECT_EQ(after["state"], "ready");
  // A model that is loaded again counts from nothing.
  EXPECT_EQ(after["totals"]["generated_tokens"].get<int>(),
            before["totals"]["generated_tokens"].get<int>() + kStreams * kTokens);
  EXPECT_EQ(server.stop().status, 0);
}

}  // namespace
}  // namespace gogrid::testing

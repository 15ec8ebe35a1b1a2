// Clients that come badly, read slowly, stay too long or leave.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "http/malformed_heads.h"
#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

constexpr const char* kChatPath = "/v1/chat/completions";

TestServer& server() { return TestServer::instance(); }

void expect_alive() { EXPECT_EQ(server().connect().request("GET", "/healthz").status, 200); }

TEST(Connections, MalformedHeadsAreAnsweredAndClosed) {
  for (const auto& sample : kMalformedHeads) {
    SCOPED_TRACE(sample.bytes);
    auto client = server().connect();
    client.send(sample.bytes);
    const auto reply = client.receive();
    EXPECT_EQ(reply.status, sample.http_status);
    EXPECT_FALSE(reply.header("x-request-id").empty());
    EXPECT_EQ(Json::parse(reply.body, nullptr, false).contains("error"), true);
    EXPECT_TRUE(client.closed_within(3s));
  }
  expect_alive();
}

int status_for_host(const std::string& method, const std::string& path, const std::string& host) {
  auto client = server().connect();
  client.send(method + " " + path + " HTTP/1.1\r\nContent-Type: application/json\r\nHost: " + host +
              "\r\nContent-Length: 2\r\n\r\n{}");
  return client.receive().status;
}

// A page whose name was made to mean this machine sends its own name, and may send anything else.
TEST(Hosts, OfOthersAreRefusedOnEveryRoute) {
  for (const char* host :
       {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
        "127.0.0.1:80.evil.example", "evil.localhost", "192.168.0.1", "0.0.0.0", "128.0.0.1",
        "[::2]", "[::1", "::1", "[::1].evil", "localhost:", "localhost:8a", "me@localhost", "x"}) {
    SCOPED_TRACE(host);
    EXPECT_EQ(status_for_host("POST", "/admin/v1/pause", host), 403);
    EXPECT_EQ(status_for_host("PATCH", "/admin/v1/policy", host), 403);
    EXPECT_EQ(status_for_host("GET", "/v1/models", host), 403);
  }
  EXPECT_EQ(Json::parse(server().connect().request("GET", "/admin/v1/status").body)["state"],
            "running");
}

TEST(Hosts, OfThisMachineAreServedWithAPortAndWithout) {
  for (const char* host : {"127.0.0.1", "127.0.0.1:8080", "127.1.2.3", "[::1]", "[::1]:9",
                           "localhost", "LocalHost:65535", "localhost:1"}) {
    EXPECT_EQ(status_for_host("GET", "/healthz", host), 200) << host;
  }
  auto old = server().connect();
  old.send("GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.receive().status, 200);
}

TEST(Connections, AnswersComeInTheOrderOfPipelinedRequests) {
  auto client = server().connect();
  const std::string slow = chat_body("endless", R"(,"max_tokens":200)");
  client.send("POST " + std::string(kChatPath) +
              " HTTP/1.1\r\nContent-Length: " + std::to_string(slow.size()) + "\r\n\r\n" + slow +
              "GET /healthz HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\n");
  const auto first = client.receive();
  EXPECT_EQ(first.status, 200);
  EXPECT_NE(first.body.find("w199"), std::string::npos);
  EXPECT_EQ(client.receive().body, R"({"status":"alive"})");
  EXPECT_EQ(client.receive().status, 404);
}

TEST(Connections, RubbishBehindARunningRequestEndsBoth) {
  auto client = server().connect();
  client.send_request("POST", kChatPath, chat_body("hanging"));
  ASSERT_TRUE(eventually([] { return server().completions.running > 0; }));
  client.send("rubbish\r\n\r\n");
  EXPECT_TRUE(client.closed_within(3s));
  EXPECT_TRUE(eventually([] { return server().completions.running == 0; }));
}

TEST(Connections, ABodyOverTheLimitIs413AndTheAnswerArrives) {
  auto client = server().connect();
  // The client goes on sending: the answer must not be lost to a reset.
  client.send_request("POST", kChatPath, std::string(4'000'000, 'x'), "X-Request-Id: big-1\r\n");
  const auto reply = client.receive();
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.header("x-request-id"), "big-1");
  EXPECT_EQ(Json::parse(reply.body)["error"]["code"], "too_large");
}

TEST(Connections, AHeadOverTheLimitIs431) {
  auto client = server().connect();
  std::string headers;
  for (int i = 0; i < 1000; ++i) headers += "X-" + std::to_string(i) + ": something\r\n";
  EXPECT_EQ(client.request("GET", "/healthz", {}, headers).status, 431);
}

TEST(Connections, ARequestThatDripsInIsEnded) {
  auto client = server().connect();
  const auto begin = std::chrono::steady_clock::now();
  const std::string_view request = "GET /healthz HTTP/1.1\r\nX-Slow: ";
  std::size_t at = 0;
  const auto give_up = begin + 15s;
  // Never idle, never done.
  while (std::chrono::steady_clock::now() < give_up && !client.closed_within(50ms)) {
    client.send(at < request.size() ? request.substr(at++, 1) : "x");
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, small_options().read_timeout);
  EXPECT_LT(took, 10s);
}

TEST(Connections, AnIdleConnectionIsClosedAndABusyOneIsNot) {
  auto idle = server().connect();
  EXPECT_EQ(idle.request("GET", "/healthz").status, 200);
  auto busy = server().connect();
  busy.send_request("POST", kChatPath, chat_body("hanging"));
  EXPECT_TRUE(idle.closed_within(8s));
  EXPECT_FALSE(busy.closed_within(100ms));
  busy.leave();
  EXPECT_TRUE(eventually([] { return server().completions.running == 0; }));
}

TEST(Connections, AClientThatLeavesEndsItsWorkWhateverItAskedFor) {
  for (const char* model : {"hanging", "endless"}) {
    for (const char* more : {"", R"(,"stream":true)"}) {
      SCOPED_TRACE(std::string(model) + more);
      const auto before = server().completions.cancelled.load();
      auto client = server().connect();
      client.send_request("POST", kChatPath, chat_body(model, more));
      ASSERT_TRUE(eventually([] { return server().completions.running > 0; }));
      const auto left = std::chrono::steady_clock::now();
      client.leave();
      EXPECT_TRUE(eventually([&] { return server().completions.cancelled > before; }));
      EXPECT_LT(std::chrono::steady_clock::now() - left, 1s);
      EXPECT_TRUE(eventually([] { return server().completions.running == 0; }));
    }
  }
}

TEST(Connections, ASlowReaderHoldsItsOwnStreamInBoundedMemoryAndLosesNothing) {
  constexpr std::uint64_t kWords = 60'000;  // megabytes of events
  auto& words = server().completions.words;
  const auto before = words.load();
  auto client = server().connect(4096);
  client.send_request(
      "POST", kChatPath,
      chat_body("endless", R"(,"stream":true,"max_tokens":)" + std::to_string(kWords)));
  // It stops when sockets and backlog are full, and stays so.
  const auto held = [&] {
    const auto made = words.load();
    std::this_thread::sleep_for(200ms);
    return made > before && words.load() == made;
  };
  ASSERT_TRUE(eventually(held));
  EXPECT_LT(words - before, kWords);
  expect_alive();
  EXPECT_EQ(server().connect().request("POST", kChatPath, chat_body("words")).status, 200);
  // Reading on frees it.
  EXPECT_EQ(client.receive_head().status, 200);
  std::string text;
  std::string rest;
  while (auto piece = client.receive_piece()) {
    if (piece->empty()) break;
    rest += *piece;
    std::size_t at = 0;
    for (std::size_t end; (end = rest.find("\n\n", at)) != std::string::npos; at = end + 2) {
      const Json chunk = Json::parse(rest.substr(at + 6, end - at - 6), nullptr, false);
      if (chunk.is_object()) text += chunk["choices"][0]["delta"].value("content", "");
    }
    rest.erase(0, at);
  }
  std::string expected;
  for (std::uint64_t i = 0; i < kWords; ++i) expected += "w" + std::to_string(i) + " ";
  EXPECT_TRUE(text == expected) << text.size() << " of " << expected.size();
}

TEST(Connections, AnOpenAnswerLongerThanTheIdleTimeoutArrives) {
  auto client = server().connect();
  client.send_request("POST", kChatPath, chat_body("endless", R"(,"stream":true,"max_tokens":5)"),
                      "");
  EXPECT_TRUE(client.receive().body.ends_with("[DONE]\n\n"));
  // Kept alive for the next request.
  EXPECT_EQ(client.request("GET", "/healthz").status, 200);
}

TEST(Connections, TooManyAreRefusedWith503AndComeBackLater) {
  {
    std::vector<HttpClient> clients;
    int refused = 0;
    for (std::uint32_t i = 0; i < small_options().max_connections + 8; ++i) {
      clients.push_back(server().connect());
      const auto reply = clients.back().request("GET", "/healthz");
      if (reply.status != 503) continue;
      ++refused;
      EXPECT_EQ(reply.header("retry-after"), "1");
      EXPECT_TRUE(Json::parse(reply.body).contains("error"));
    }
    EXPECT_GE(refused, 1);
    EXPECT_LE(refused, 12);
  }
  EXPECT_TRUE(
      eventually([] { return server().connect().request("GET", "/healthz").status == 200; }));
}

TEST(Connections, LargeBodiesTogetherAreBounded) {
  // Five bodies of almost the limit each arrive but for their last byte.
  std::vector<HttpClient> clients;
  const std::string part(small_options().max_body - 1, 'x');
  for (int i = 0; i < 5; ++i) {
    clients.push_back(server().connect());
    clients.back().send("POST /v1/completions HTTP/1.1\r\nContent-Length: " +
                        std::to_string(part.size() + 1) + "\r\n\r\n" + part);
  }
  EXPECT_EQ(clients.back().receive().status, 503);
  expect_alive();
}

// Holds what prepares until release() or the end of the test.
class Held {
 public:
  Held() { server().completions.held = true; }
  ~Held() { release(); }
  void release() {
    server().completions.held = false;
    server().completions.held.notify_all();
  }
};

std::string large_body(const std::string& model) {
  return chat_body(model, R"(,"user":")" + std::string(small_options().large_body, 'x') + '"');
}

TEST(LargeBodies, ArePreparedOneAfterTheOtherAndNobodyElseWaits) {
  Held held;
  std::vector<HttpClient> large;
  for (int i = 0; i < 3; ++i) {
    large.push_back(server().connect());
    large.back().send_request("POST", kChatPath, large_body("preparing"));
  }
  ASSERT_TRUE(eventually([] { return server().completions.preparing == 1; }));
  auto small = server().connect();
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(small.request("POST", kChatPath, chat_body("words")).status, 200);
  }
  EXPECT_EQ(server().completions.preparing, 1U);
  held.release();
  for (auto& client : large) EXPECT_EQ(client.receive().status, 200);
}

// So many were refused so far, for want of a place among the large ones.
int refused_large_bodies() {
  const auto metrics = server().connect().request("GET", "/metrics").body;
  const std::string name = R"(gogrid_requests_throttled_total{reason="large_body_queue"} )";
  const auto at = metrics.find(name);
  return at == std::string::npos ? 0 : std::stoi(metrics.substr(at + name.size()));
}

TEST(LargeBodies, ThatWouldWaitLongAreRefusedAtOnce) {
  const int before = refused_large_bodies();
  Held held;
  std::vector<HttpClient> clients;
  for (int i = 0; i < 20; ++i) {  // one is prepared, 16 wait
    clients.push_back(server().connect());
    clients.back().send_request("POST", kChatPath, large_body("preparing"));
    ASSERT_TRUE(eventually([] { return server().completions.preparing == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return refused_large_bodies() == before + 3; }));
  held.release();
  int refused = 0;
  for (auto& client : clients) refused += client.receive().status == 503 ? 1 : 0;
  EXPECT_EQ(refused, 3);
}

TEST(LargeBodies, WhoseDeadlinePassesInTheQueueAreNotPreparedAnyMore) {
  Held held;
  auto first = server().connect();
  first.send_request("POST", kChatPath, large_body("preparing"));
  ASSERT_TRUE(eventually([] { return server().completions.preparing == 1; }));
  auto second = server().connect();
  second.send_request("POST", kChatPath, large_body("words"), "X-GoGrid-Timeout: 0.05\r\n");
  std::this_thread::sleep_for(100ms);
  held.release();
  EXPECT_EQ(second.receive().status, 504);
}

// Named to run last: it ends the server.
TEST(Shutdown, StreamsEndWellNewcomersAndWhoWaitsForATurnAreRefusedAndNothingStays) {
  auto stream = server().connect();
  stream.send_request("POST", kChatPath,
                      chat_body("endless", R"(,"stream":true,"max_tokens":20000)"));
  EXPECT_EQ(stream.receive_head().status, 200);
  auto newcomer = server().connect();
  ASSERT_EQ(newcomer.request("GET", "/healthz").status, 200);
  const std::vector<PolicySetting> interval{{"min_request_interval_ms", std::int64_t{5000}}};
  ASSERT_TRUE(server().policies->change(interval, "test"));
  EXPECT_EQ(server().connect().request("POST", kChatPath, chat_body("words")).status, 200);
  auto waiting = server().connect();
  waiting.send_request("POST", kChatPath, chat_body("words"));
  ASSERT_TRUE(eventually([] { return server().gate.counts().waiting == 1; }));
  const auto told = std::chrono::steady_clock::now();
  bool ended_well = false;
  std::jthread stopper([&] { ended_well = server().stop(20s); });
  EXPECT_TRUE(eventually(
      [&] { return newcomer.request("POST", kChatPath, chat_body("words")).status == 503; }));
  EXPECT_EQ(waiting.receive().status, 503);
  EXPECT_LT(std::chrono::steady_clock::now() - told, 2s);
  std::string text;
  while (auto piece = stream.receive_piece()) text += *piece;
  EXPECT_TRUE(text.ends_with("data: [DONE]\n\n"));
  EXPECT_NE(text.find("w19999"), std::string::npos);
  stopper.join();
  EXPECT_TRUE(ended_well);
  EXPECT_FALSE(server().connect().connected());
}

}  // namespace
}  // namespace gogrid::testing

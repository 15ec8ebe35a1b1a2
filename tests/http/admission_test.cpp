// That requests are let in one after the other: min_request_interval_ms, through HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>
#include <vector>

#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

// The server with an interval. The gate's counts are of the whole program: what a test did is the
// difference.
class Admission : public ::testing::Test {
 protected:
  Admission() : before_(server_.gate.counts()) {}
  ~Admission() override { static_cast<void>(server_.policies->reset("test")); }

  void set_interval(std::int64_t milliseconds) {
    const std::vector<PolicySetting> settings{{"min_request_interval_ms", milliseconds}};
    ASSERT_TRUE(server_.policies->change(settings, "test"));
  }
  GateCounts counted() const {
    const GateCounts now = server_.gate.counts();
    return {.seen = now.seen - before_.seen,
            .granted = now.granted - before_.granted,
            .delayed = now.delayed - before_.delayed,
            .refused = now.refused - before_.refused,
            .waiting = now.waiting};
  }
  HttpClient ask(const std::string& headers = {}) const {
    return send(chat_body("words"), headers);
  }
  HttpClient send(const std::string& body, const std::string& headers = {}) const {
    HttpClient client = server_.connect();
    client.send_request("POST", "/v1/chat/completions", body, headers);
    return client;
  }
  // The first turn is used, and so many wait for theirs.
  std::vector<HttpClient> line_of(std::uint64_t waiting) {
    EXPECT_EQ(ask().receive().status, 200);
    std::vector<HttpClient> clients;
    for (std::uint64_t i = 1; i <= waiting; ++i) {
      clients.push_back(ask());
      EXPECT_TRUE(eventually([&] { return counted().waiting == i; }));
    }
    return clients;
  }

  TestServer& server_ = TestServer::instance();

 private:
  const GateCounts before_;
};

TEST_F(Admission, OfAHundredRequestsAtFiftyMillisecondsTakesFiveSecondsAndCountsExactly) {
  set_interval(50);
  // Fewer connections than the server allows, each with several requests one after the other: at
  // every moment somebody waits.
  constexpr int kClients = 25;
  std::atomic<bool> adds_up{true};
  std::atomic<bool> done{false};
  const auto watch = std::async(std::launch::async, [&] {
    while (!done) {
      const GateCounts now = server_.gate.counts();
      if (now.seen != now.granted + now.refused + now.waiting) adds_up = false;
    }
  });
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::future<int>> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::async(std::launch::async, [&] {
      int answered = 0;
      HttpClient client = server_.connect();
      for (int k = 0; k < 100 / kClients; ++k) {
        answered += client.request("POST", "/v1/chat/completions", chat_body("words")).status == 200
                        ? 1
                        : 0;
      }
      return answered;
    }));
  }
  int answered = 0;
  for (auto& client : clients) answered += client.get();
  const auto took = std::chrono::steady_clock::now() - begin;
  done = true;
  watch.wait();
  EXPECT_EQ(answered, 100);
  EXPECT_GE(took, 4950ms);
  EXPECT_LE(took, 5500ms);
  EXPECT_TRUE(adds_up);
  const GateCounts counts = counted();
  EXPECT_EQ(counts.seen, 100U);
  EXPECT_EQ(counts.granted, 100U);
  EXPECT_EQ(counts.delayed, 99U);
  EXPECT_EQ(counts.refused, 0U);
  EXPECT_EQ(counts.waiting, 0U);
  EXPECT_THAT(server_.metrics.expose(), HasSubstr("gogrid_throttle_wait_seconds_count"));
}

TEST_F(Admission, AShorterIntervalIsInForceForWhoeverIsInLine) {
  set_interval(2000);
  auto waiting = line_of(3);
  const auto begin = std::chrono::steady_clock::now();
  set_interval(50);
  for (HttpClient& client : waiting) EXPECT_EQ(client.receive().status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(counted().granted, 4U);
}

TEST_F(Admission, WithoutAnIntervalAllWhoWaitGoAtOnceAndNewcomersAfterThem) {
  set_interval(2000);
  auto waiting = line_of(3);
  const auto begin = std::chrono::steady_clock::now();
  set_interval(0);
  EXPECT_EQ(ask().receive().status, 200);
  for (HttpClient& client : waiting) EXPECT_EQ(client.receive().status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

TEST_F(Admission, WhoseTurnComesAfterTheDeadlineOnceTheIntervalIsLongerIsRefusedAtOnce) {
  set_interval(1000);
  auto waiting = line_of(2);
  const auto begin = std::chrono::steady_clock::now();
  set_interval(6000);  // the second's would come after 12 s, its deadline is at 7 s
  const HttpReply refused = waiting[1].receive();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("min_request_interval_ms"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(counted().waiting, 1U);
  EXPECT_EQ(counted().refused, 1U);
}

TEST_F(Admission, ATurnAfterTheDeadlineIsRefusedAtOnce) {
  set_interval(60'000);
  const auto held = server_.gate.ask(SteadyClock().now(), {.interval = 60s}, TimePoint::max());
  const auto begin = std::chrono::steady_clock::now();
  const HttpReply reply = ask("X-GoGrid-Timeout: 2\r\n").receive();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(reply.status, 503);
  EXPECT_NE(reply.header("retry-after"), "");
  EXPECT_THAT(reply.body, HasSubstr("min_request_interval_ms"));
  EXPECT_EQ(counted().refused, 1U);
}

TEST_F(Admission, WhoeverLeavesWhileWaitingGivesTheTurnBack) {
  set_interval(2000);
  EXPECT_EQ(ask().receive().status, 200);
  {
    HttpClient leaving = ask();
    ASSERT_TRUE(eventually([&] { return counted().waiting == 1; }));
  }
  ASSERT_TRUE(eventually([&] { return counted().waiting == 0; }));
  EXPECT_EQ(counted().refused, 1U);
  // Its turn is had again: two seconds after the first, not four.
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(ask().receive().status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
  EXPECT_EQ(counted().granted, 2U);
}

TEST_F(Admission, WhatIsWrongIsToldAtOnceHoweverManyWaitAndTakesNoTurn) {
  set_interval(3000);
  const auto waiting = line_of(1);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(send("{").receive().status, 400);
  EXPECT_EQ(send(chat_body("words", R"(,"temperature":3)")).receive().status, 400);
  EXPECT_EQ(send(chat_body("nobody knows")).receive().status, 404);
  EXPECT_EQ(send(chat_body("unavailable")).receive().status, 503);
  EXPECT_EQ(ask("X-GoGrid-Wait: soon\r\n").receive().status, 400);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(counted().seen, 2U);
}

// What arrives first may take longer to prepare.
TEST_F(Admission, LetsRequestsInInTheOrderOfTheirArrival) {
  set_interval(50);
  auto& completions = server_.completions;
  const auto already = completions.started().size();
  completions.held = true;
  std::vector<HttpClient> clients;
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) {
    ids.push_back("arrival-" + std::to_string(i));
    clients.push_back(
        send(chat_body(i == 0 ? "preparing" : "words"), "X-Request-Id: " + ids.back() + "\r\n"));
    // On several connections the order is that of their coming.
    ASSERT_TRUE(eventually([&] {
      return i == 0 ? completions.preparing == 1 : completions.last()->request_id == ids.back();
    }));
  }
  completions.held = false;
  completions.held.notify_all();
  for (HttpClient& client : clients) EXPECT_EQ(client.receive().status, 200);
  auto started = completions.started();
  started.erase(started.begin(), started.begin() + static_cast<std::ptrdiff_t>(already));
  EXPECT_EQ(started, ids);
}

TEST_F(Admission, AStreamThatWaitsLongForItsTurnIsOpenAndSaysWhy) {
  set_interval(1500);
  EXPECT_EQ(ask().receive().status, 200);
  HttpClient client = send(chat_body("words", R"(,"stream":true)"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client.receive_head().status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1400ms);
  EXPECT_THAT(client.receive_piece().value_or(""),
              HasSubstr(": waiting: requests are let in one after the other"));
  std::string text;
  while (auto piece = client.receive_piece()) {
    if (piece->empty()) break;
    text += *piece;
  }
  EXPECT_THAT(text, HasSubstr("w2"));
  EXPECT_TRUE(text.ends_with("data: [DONE]\n\n"));
}

TEST_F(Admission, AStreamThatIsRefusedAtItsTurnEndsWithTheReason) {
  set_interval(1500);
  EXPECT_EQ(ask().receive().status, 200);
  const HttpReply reply = send(chat_body("late refusal", R"(,"stream":true)")).receive();
  EXPECT_EQ(reply.status, 200);  // it had begun
  EXPECT_THAT(reply.body, HasSubstr("data: {\"error\""));
  EXPECT_THAT(reply.body, HasSubstr("paused since"));
  EXPECT_EQ(send(chat_body("late refusal")).receive().status, 503);
}

TEST_F(Admission, AHeaderThatIsWrongTakesNoTurn) {
  set_interval(60'000);
  EXPECT_EQ(ask("X-GoGrid-Timeout: soon\r\n").receive().status, 400);
  EXPECT_EQ(counted().seen, 0U);
}

}  // namespace
}  // namespace gogrid::testing

// That a request waits for its model to be loaded, through HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

class LoadWait : public ::testing::Test {
 protected:
  void SetUp() override { server_.completions.unload(); }

  // A request that has come as far as waiting for its model.
  HttpClient ask(const std::string& more = {}) {
    const std::size_t before = server_.completions.wait_for_model();
    HttpClient client = server_.connect();
    client.send_request("POST", "/v1/chat/completions", chat_body("loading", more));
    EXPECT_TRUE(eventually([&] { return server_.completions.wait_for_model() == before + 1; }));
    return client;
  }
  bool is_let_go() const {
    return eventually([&] { return server_.completions.hold.use_count() == 1; });
  }

  TestServer& server_ = TestServer::instance();
};

TEST_F(LoadWait, ARequestIsAnsweredOnceItsModelIsLoaded) {
  HttpClient client = ask();
  server_.completions.load();
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("w0 w1 w2"));
  EXPECT_TRUE(is_let_go());
}

TEST_F(LoadWait, AStreamSaysMeanwhileHowFarTheLoadingIs) {
  HttpClient client = ask(R"(,"stream":true)");
  server_.completions.load();
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 200);
  const std::size_t told = answer.body.find(": the model is loading: 42 %");
  ASSERT_NE(told, std::string::npos) << answer.body;
  EXPECT_LT(told, answer.body.find("data:"));
  EXPECT_THAT(answer.body, HasSubstr("\"model\":\"loading\""));
  EXPECT_THAT(answer.body, HasSubstr("[DONE]"));
  EXPECT_TRUE(is_let_go());
}

TEST_F(LoadWait, WhatDoesNotLoadRefusesTheRequestWithItsCode) {
  HttpClient client = ask();
  Error why{ErrorCode::kExhausted, "cpu0: short by 5 bytes", "model", {}};
  why.retry_after = std::chrono::seconds(2);
  server_.completions.load(why);
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("retry-after"), "2");
  EXPECT_THAT(answer.body, HasSubstr("short by 5 bytes"));
}

TEST_F(LoadWait, AStreamThatWasOpenedEndsWithTheError) {
  HttpClient client = ask(R"(,"stream":true)");
  server_.completions.load(Error{ErrorCode::kUnavailable, "the file is gone", "model", {}});
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("the file is gone"));
}

TEST_F(LoadWait, WhoWaitsForAModelHoldsUpNobodyElse) {
  HttpClient waiting = ask();
  HttpClient client = server_.connect();
  client.send_request("POST", "/v1/chat/completions", chat_body("words"));
  EXPECT_EQ(client.receive().status, 200);
  server_.completions.load();
  EXPECT_EQ(waiting.receive().status, 200);
}

TEST_F(LoadWait, ManyWaitOnNoThread) {
  std::vector<HttpClient> clients;
  for (int i = 0; i < 24; ++i) clients.push_back(ask(i % 2 == 0 ? "" : R"(,"stream":true)"));
  server_.completions.load();
  for (HttpClient& client : clients) EXPECT_EQ(client.receive().status, 200);
  EXPECT_TRUE(is_let_go());
}

}  // namespace
}  // namespace gogrid::testing

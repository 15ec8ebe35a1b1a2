// What the routes answer, over a socket.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "http/malformed_requests.h"
#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;

constexpr const char* kChatPath = "/v1/chat/completions";
constexpr const char* kTextPath = "/v1/completions";

HttpReply ask(std::string_view method, std::string_view path, std::string_view body = {},
              std::string_view headers = {}) {
  return TestServer::instance().connect().request(method, path, body, headers);
}

Json error_of(const HttpReply& reply) {
  EXPECT_EQ(reply.header("content-type"), "application/json");
  const Json json = Json::parse(reply.body, nullptr, false);
  if (!json.is_object() || !json.contains("error")) {
    ADD_FAILURE() << "no error object: " << reply.body;
    return Json::object();
  }
  for (const char* name : {"message", "type", "param", "code"}) {
    EXPECT_TRUE(json["error"].contains(name)) << reply.body;
  }
  return json["error"];
}

TEST(Answers, AChatIsAnsweredWithTheOpenAiObject) {
  const auto reply = ask("POST", kChatPath, chat_body("words", R"(,"n":2,"max_tokens":2)"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.header("content-type"), "application/json");
  const Json answer = Json::parse(reply.body);
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(answer["model"], "words");
  EXPECT_EQ(answer["choices"].size(), 2U);
  EXPECT_EQ(answer["choices"][1]["message"]["content"], "w0 w1 ");
  EXPECT_EQ(answer["choices"][1]["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 4);
}

TEST(Answers, AStreamIsWholeAlsoOnAConnectionThatClosesAfterIt) {
  HttpClient client = TestServer::instance().connect();
  const auto reply = client.request("POST", kTextPath, text_body("words", R"(,"stream":true)"),
                                    "Connection: Close\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.body.ends_with("data: [DONE]\n\n")) << reply.body;
  EXPECT_TRUE(client.closed_within(std::chrono::seconds(5)));
}

TEST(Answers, AStreamForAClientThatCannotReadItInPiecesIsRefused) {
  const std::string body = text_body("words", R"(,"stream":true)");
  HttpClient client = TestServer::instance().connect();
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  const auto reply = client.receive();
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(error_of(reply)["param"], "stream");
}

TEST(Answers, AStreamIsEventsUntilDone) {
  const auto reply =
      ask("POST", kTextPath,
          text_body("words", R"(,"stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_FALSE(reply.header("x-request-id").empty());
  EXPECT_TRUE(reply.body.ends_with("data: [DONE]\n\n")) << reply.body;
  std::string text;
  Json last;
  for (std::size_t at = 0; (at = reply.body.find("data: {", at)) != std::string::npos; ++at) {
    last = Json::parse(reply.body.substr(at + 6, reply.body.find('\n', at) - at - 6));
    if (!last["choices"].empty()) text += last["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(text, "w0 w1 w2 ");
  EXPECT_EQ(last["usage"]["total_tokens"], 8);
}

TEST(Answers, AnErrorInMidStreamIsItsLastEvent) {
  const auto reply = ask("POST", kChatPath, chat_body("breaking", R"(,"stream":true)"));
  ASSERT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find("w1"), std::string::npos);
  EXPECT_NE(reply.body.find("data: {\"error\":{\"message\":\"the stage is gone\""),
            std::string::npos);
  EXPECT_EQ(reply.body.find("[DONE]"), std::string::npos);
}

TEST(Answers, EveryRefusalHasItsStatusAndTellsWhenToComeBack) {
  for (std::size_t i = 0; i < kErrorCodeCount; ++i) {
    const ErrorTraits& row = traits(static_cast<ErrorCode>(i));
    for (const char* more : {"", R"(,"stream":true)"}) {
      const auto reply = ask("POST", kChatPath, chat_body(std::string(row.name), more));
      EXPECT_EQ(reply.status, row.http_status) << row.name;
      const Json error = error_of(reply);
      EXPECT_EQ(error["code"], row.name);
      EXPECT_EQ(error["type"], row.http_type);
      EXPECT_EQ(reply.header("retry-after"), row.retry == Retry::kNever ? "" : "7") << row.name;
    }
  }
}

TEST(Answers, ADeadlineAfterTheStartIs504) {
  EXPECT_EQ(ask("POST", kChatPath, chat_body("late")).status, 504);
}

TEST(Answers, AnExceptionIsAnAnswerToo) {
  const auto reply = ask("POST", kChatPath, chat_body("throwing"));
  EXPECT_EQ(reply.status, 500);
  EXPECT_EQ(error_of(reply)["code"], "internal");
}

TEST(Answers, ARequestIdIsTakenOrMadeAndAlwaysSentBack) {
  const auto id_of = [](const HttpReply& reply) { return reply.header("x-request-id"); };
  EXPECT_EQ(id_of(ask("GET", "/healthz", {}, "X-Request-Id: abc-1\r\n")), "abc-1");
  EXPECT_EQ(id_of(ask("GET", "/nowhere", {}, "X-Request-Id: abc-2\r\n")), "abc-2");
  EXPECT_EQ(id_of(ask("POST", kChatPath, "{", "X-Request-Id: abc-3\r\n")), "abc-3");
  EXPECT_EQ(id_of(ask("POST", kChatPath, chat_body("words", R"(,"stream":true)"),
                      "X-Request-Id: abc-4\r\n")),
            "abc-4");
  EXPECT_EQ(id_of(ask("PUT", kChatPath, {}, "X-Request-Id: abc-5\r\n")), "abc-5");
  EXPECT_TRUE(id_of(ask("GET", "/healthz", {}, "X-Request-Id: no good\r\n")).starts_with("req-"));
  EXPECT_EQ(TestServer::instance().completions.last()->request_id, "abc-4");
}

TEST(Answers, AnUnknownRouteNamesTheNearest) {
  const auto reply = ask("GET", "/v1/modles");
  EXPECT_EQ(reply.status, 404);
  EXPECT_NE(error_of(reply)["message"].get<std::string>().find("/v1/models"), std::string::npos);
}

TEST(Answers, AWrongMethodIsRefusedWithTheRightOne) {
  EXPECT_EQ(ask("GET", kChatPath).header("allow"), "POST");
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    for (const char* path : {"/v1/models", "/v1/models/broken", "/healthz"}) {
      const auto reply = ask(method, path);
      EXPECT_EQ(reply.status, 405) << method << " " << path;
      EXPECT_EQ(reply.header("allow"), "GET, HEAD");
      error_of(reply);
    }
  }
  EXPECT_EQ(ask("HEAD", "/healthz").status, 200);
}

TEST(Answers, NoFileIsServedAndNoneIsMade) {
  for (const char* path :
       {"/secret.txt", "/", "/index.html", "/../secret.txt", "/%2e/secret.txt"}) {
    const auto reply = ask("GET", path);
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(reply.body.find("secret\n"), std::string::npos);
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TestServer::instance().folder())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_EQ(names, std::vector<std::string>{"secret.txt"});
}

TEST(Answers, ModelsAndStatusShowWhatCannotBeServed) {
  const Json models = Json::parse(ask("GET", "/v1/models").body);
  EXPECT_EQ(models["object"], "list");
  ASSERT_EQ(models["data"].size(), 1U);
  EXPECT_EQ(models["data"][0]["id"], "broken");
  EXPECT_EQ(Json::parse(ask("GET", "/v1/models/broken").body)["object"], "model");
  const auto missing = ask("GET", "/v1/models/brokn");
  EXPECT_EQ(missing.status, 404);
  EXPECT_NE(error_of(missing)["message"].get<std::string>().find("broken"), std::string::npos);
  const Json status = Json::parse(ask("GET", "/admin/v1/status").body);
  EXPECT_EQ(status["state"], "running");
  EXPECT_FALSE(status["devices"].empty());
  EXPECT_EQ(status["models"][0]["name"], "broken");
  const auto ready = ask("GET", "/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_FALSE(ready.header("retry-after").empty());
}

TEST(Answers, MetricsCountAnswersByRouteAndStatus) {
  ask("GET", "/some/random/path");
  ask("POST", kTextPath, "{}");
  const auto reply = ask("GET", "/metrics");
  EXPECT_EQ(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(reply.body.find(R"(gogrid_requests_total{route="other",status="404"})"),
            std::string::npos);
  EXPECT_NE(reply.body.find(R"(gogrid_requests_total{route="/v1/completions",status="400"})"),
            std::string::npos);
  EXPECT_EQ(reply.body.find("random"), std::string::npos);
}

TEST(Answers, ATimeoutHeaderShortensTheDeadlineAndIsChecked) {
  const auto expect_deadline = [](const char* header, Duration timeout) {
    const TimePoint sent = SteadyClock().now();
    EXPECT_EQ(ask("POST", kChatPath, chat_body("words"), header).status, 200);
    const TimePoint deadline = *TestServer::instance().completions.last()->deadline;
    EXPECT_GE(deadline, sent + timeout) << header;
    EXPECT_LE(deadline, SteadyClock().now() + timeout) << header;
  };
  expect_deadline("X-GoGrid-Timeout: 1.5\r\n", std::chrono::milliseconds(1500));
  expect_deadline("X-GoGrid-Timeout: 1e30\r\n", small_options().request_timeout);
  expect_deadline("", small_options().request_timeout);
  for (const char* bad : {"0", "-1", "soon", "1s", "nan"}) {
    const auto reply = ask("POST", kChatPath, chat_body("words"),
                           "X-GoGrid-Timeout: " + std::string(bad) + "\r\n");
    EXPECT_EQ(reply.status, 400) << bad;
    EXPECT_EQ(error_of(reply)["param"], "X-GoGrid-Timeout");
  }
}

void expect_refused_at_once(CompletionKind kind, const std::string& body, const char* param) {
  SCOPED_TRACE(body.substr(0, 200));
  const auto begin = std::chrono::steady_clock::now();
  const auto reply = ask("POST", kind == CompletionKind::kChat ? kChatPath : kTextPath, body);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_EQ(reply.status, 400);
  const Json error = error_of(reply);
  EXPECT_EQ(error["param"].is_null() ? "" : error["param"].get<std::string>(), param);
}

TEST(Answers, MalformedRequestsAreRefusedWithinASecond) {
  for (const auto& sample : kMalformedBodies) {
    expect_refused_at_once(sample.kind, sample.body, sample.param);
  }
  for (const auto& sample : kMalformedFields) {
    const std::string more = "," + std::string(sample.body);
    expect_refused_at_once(
        sample.kind, sample.kind == kChat ? chat_body("words", more) : text_body("words", more),
        sample.param);
  }
}

}  // namespace
}  // namespace gogrid::testing

// Pausing by the operator: what the admin routes take and what clients see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "http/chunk_writer.h"
#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr const char* kJsonHeader = "Content-Type: application/json\r\n";

HttpReply post(const std::string& path, const std::string& body,
               const std::string& headers = kJsonHeader) {
  return TestServer::instance().connect().request("POST", path, body, headers);
}
Json status() {
  return Json::parse(TestServer::instance().connect().request("GET", "/admin/v1/status").body);
}

// Whatever a test did, the next one runs.
class Pause : public ::testing::Test {
 protected:
  ~Pause() override { post("/admin/v1/resume", ""); }
};

TEST_F(Pause, LastsUntilSomebodyResumesAndSaysSo) {
  const auto paused = post("/admin/v1/pause", R"({"why":"a film"})");
  EXPECT_EQ(paused.status, 200);
  EXPECT_EQ(Json::parse(paused.body)["state"], "paused");
  EXPECT_EQ(status()["why"], "a film");
  EXPECT_TRUE(status()["until"].is_null());
  EXPECT_EQ(TestServer::instance().connect().request("GET", "/readyz").status, 503);
  EXPECT_EQ(post("/admin/v1/resume", "").status, 200);
  EXPECT_EQ(status()["state"], "running");
}

TEST_F(Pause, MayHaveAnEnd) {
  ASSERT_EQ(post("/admin/v1/pause", R"({"seconds":1800})").status, 200);
  EXPECT_THAT(status()["until"].get<std::string>(), ::testing::ContainsRegex("^20..-..-..T.*Z$"));
  ASSERT_EQ(post("/admin/v1/pause", R"({"seconds":1})").status, 200);
  EXPECT_TRUE(eventually([] { return status()["state"] == "running"; }));
}

TEST_F(Pause, IsCounted) {
  ASSERT_EQ(post("/admin/v1/pause", "").status, 200);
  EXPECT_THAT(TestServer::instance().connect().request("GET", "/metrics").body,
              HasSubstr(R"(gogrid_pauses_total{reason="operator"})"));
}

TEST_F(Pause, IsNotForPagesInABrowser) {
  for (const char* type : {"", "Content-Type: text/plain\r\n",
                           "Content-Type: application/x-www-form-urlencoded\r\n"}) {
    EXPECT_EQ(post("/admin/v1/pause", "{}", type).status, 400) << type;
    EXPECT_EQ(post("/admin/v1/resume", "{}", type).status, 400) << type;
  }
  EXPECT_EQ(status()["state"], "running");
}

TEST_F(Pause, RefusesWhatItDoesNotUnderstand) {
  for (const char* bad :
       {"[]", "3", "{", R"({"seconds":0})", R"({"seconds":-1})", R"({"seconds":1.5})",
        R"({"seconds":"60"})", R"({"seconds":1e300})", R"({"seconds":2592001})", R"({"why":""})",
        R"({"why":7})", R"({"minutes":3})"}) {
    EXPECT_EQ(post("/admin/v1/pause", bad).status, 400) << bad;
  }
  EXPECT_EQ(post("/admin/v1/pause", R"({"why":")" + std::string(201, 'x') + "\"}").status, 400);
  EXPECT_EQ(post("/admin/v1/pause", std::string(5000, ' ')).status, 413);
  EXPECT_EQ(status()["state"], "running");
}

TEST_F(Pause, AWaitHeaderIsCheckedAndHandedOn) {
  const auto ask = [](const std::string& headers) {
    return TestServer::instance().connect().request("POST", "/v1/chat/completions",
                                                    chat_body("words"), headers);
  };
  const TimePoint before = SteadyClock().now();
  EXPECT_EQ(ask("X-GoGrid-Wait: 2.5\r\n").status, 200);
  const auto wait_until = TestServer::instance().completions.last()->wait_until;
  ASSERT_TRUE(wait_until);
  EXPECT_GE(*wait_until, before + 2500ms);
  EXPECT_LE(*wait_until, SteadyClock().now() + 2500ms);
  EXPECT_EQ(ask("").status, 200);
  EXPECT_FALSE(TestServer::instance().completions.last()->wait_until);
  for (const char* bad : {"0", "-1", "soon"}) {
    EXPECT_EQ(ask("X-GoGrid-Wait: " + std::string(bad) + "\r\n").status, 400) << bad;
  }
}

TEST(ChunkWriterComment, IsOneLineThatReadersSkip) {
  std::string out;
  ChunkWriter::comment("paused: a\nfilm\r\ndata: {}", out);
  EXPECT_EQ(out, ": paused: a film  data: {}\n\n");
}

TEST_F(Pause, AStreamThatWaitsSaysWhy) {
  auto client = TestServer::instance().connect();
  client.send_request("POST", "/v1/chat/completions",
                      chat_body("waiting", R"(,"stream":true,"max_tokens":2)"));
  ASSERT_EQ(client.receive_head().status, 200);
  std::string text;
  while (auto piece = client.receive_piece()) text += *piece;
  EXPECT_THAT(text, HasSubstr(": paused: as asked\n\n"));
  EXPECT_THAT(text, HasSubstr("w1"));
  EXPECT_TRUE(text.ends_with("data: [DONE]\n\n"));
}

}  // namespace
}  // namespace gogrid::testing

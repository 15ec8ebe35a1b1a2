// /admin/v1/policy: what is in force, and how it is changed while running.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

HttpReply ask(const std::string& method, const std::string& body = {},
              const std::string& headers = "Content-Type: application/json\r\n") {
  return TestServer::instance().connect().request(method, "/admin/v1/policy", body, headers);
}
Json policy() { return Json::parse(ask("GET").body); }

// Whatever a test did, the next one finds what was configured.
class Policy : public ::testing::Test {
 protected:
  ~Policy() override { ask("DELETE"); }
};

TEST_F(Policy, ShowsEveryValueByItsName) {
  const Json shown = policy();
  for (const char* name : {"mode", "max_device_memory", "max_compute", "nice", "io_class",
                           "io_level", "min_request_interval_ms", "max_batch"})
    EXPECT_TRUE(shown.contains(name)) << name;
  for (const char* name : {"enabled", "cpu", "gpu", "memory", "check_s", "pause_s"})
    EXPECT_TRUE(shown["pause"].contains(name)) << name;
  EXPECT_EQ(shown["mode"], "aggressive");
  EXPECT_EQ(shown["max_batch"], 16);
}

TEST_F(Policy, AChangeIsInForceWhenItIsAnsweredAndOnTheDisk) {
  const auto changed = ask(
      "PATCH", R"({"max_compute":0.5,"pause":{"cpu":0.25},"devices":{"cpu-a":{"max_compute":0}}})");
  ASSERT_EQ(changed.status, 200) << changed.body;
  EXPECT_EQ(Json::parse(changed.body), policy());
  EXPECT_EQ(policy()["max_compute"], 0.5);
  EXPECT_EQ(policy()["pause"]["cpu"], 0.25);
  EXPECT_EQ(policy()["devices"]["cpu-a"]["max_compute"], 0.0);
  auto& server = TestServer::instance();
  const auto again = PolicyStore::open(ResourcePolicy::of(ResourceMode::kAggressive),
                                       server.state.path() / "policy.json");
  ASSERT_TRUE(again);
  EXPECT_EQ(*(*again)->current(), *server.policies->current());
}

TEST_F(Policy, WhatGetShowsCanBeSentBack) {
  ASSERT_EQ(ask("PATCH", R"({"mode":"conservative","max_batch":3})").status, 200);
  const auto shown = ask("GET").body;
  ASSERT_EQ(ask("DELETE").status, 200);
  ASSERT_NE(ask("GET").body, shown);
  ASSERT_EQ(ask("PATCH", shown).status, 200);
  EXPECT_EQ(ask("GET").body, shown);
}

TEST_F(Policy, IsTakenBackAsAWhole) {
  const Json configured = policy();
  ASSERT_EQ(ask("PATCH", R"({"mode":"conservative"})").status, 200);
  const auto reset = ask("DELETE");
  EXPECT_EQ(reset.status, 200);
  EXPECT_EQ(Json::parse(reset.body), configured);
}

TEST_F(Policy, AFaultRefusesAllOfAChangeAndTellsAllFaults) {
  const Json before = policy();
  const auto refused =
      ask("PATCH", R"({"max_batch":2,"nice":20,"max_computes":1,"pause":{"cpu":-0.1}})");
  EXPECT_EQ(refused.status, 400);
  const Json error = Json::parse(refused.body)["error"];
  EXPECT_EQ(error["param"], "nice");
  EXPECT_THAT(error["message"].get<std::string>(),
              AllOf(HasSubstr("nice: expected a whole number -20..19, got 20"),
                    HasSubstr("did you mean max_compute?"), HasSubstr("pause.cpu")));
  EXPECT_EQ(policy(), before);
}

TEST_F(Policy, RefusesWhatItDoesNotUnderstand) {
  const Json before = policy();
  for (const char* bad :
       {"", "[]", "3", "{", R"({"max_compute":"half"})", R"({"max_compute":[1]})",
        R"({"max_compute":1e999})", R"({"mode":null})", R"({"mode":"gentle"})",
        R"({"devices":{"":{"max_compute":1}}})", R"({"a":{"b":{"c":{"d":1}}}})"}) {
    EXPECT_EQ(ask("PATCH", bad).status, 400) << bad;
  }
  EXPECT_EQ(ask("PATCH", "{}", "Content-Type: text/plain\r\n").status, 400);
  EXPECT_EQ(ask("PATCH", std::string(65537, ' ')).status, 413);
  EXPECT_EQ(policy(), before);
}

TEST_F(Policy, AndWhatIsInForceOfItCanBeSeen) {
  const auto shown = TestServer::instance().connect().request("GET", "/admin/v1/resources");
  ASSERT_EQ(shown.status, 200);
  const Json json = Json::parse(shown.body);
  for (const char* name : {"gate", "ledger", "duty", "load", "priority"})
    EXPECT_TRUE(json.contains(name)) << name;
}

TEST_F(Policy, SaysWhichMethodsItAnswers) {
  const auto refused = ask("PUT", "{}");
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(refused.header("allow"), "GET, HEAD, PATCH, DELETE");
}

}  // namespace
}  // namespace gogrid::testing

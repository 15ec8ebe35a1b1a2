// GET /admin/v1/models/{name}/compatibility, and the report as JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "http/admin_request.h"
#include "http/compatibility_json.h"
#include "http/test_server.h"

namespace gogrid::testing {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

HttpReply ask(const std::string& path, const std::string& method = "GET") {
  return TestServer::instance().connect().request(method, path);
}

TEST(CompatibilityRoute, AnswersWithAReport) {
  const auto reply = ask("/admin/v1/models/tiny/compatibility?context=64&parallel=2");
  ASSERT_EQ(reply.status, 200) << reply.body;
  const Json report = Json::parse(reply.body);
  EXPECT_EQ(report["model"], "tiny");
  EXPECT_EQ(report["context"], 64);
  EXPECT_EQ(report["parallel"], 2);
  EXPECT_EQ(report["runs"], true);
  ASSERT_FALSE(report["verdicts"].empty());
  EXPECT_EQ(report["verdicts"][0]["fits"], true);
  EXPECT_GT(report["verdicts"][0]["max_context"], 64);
}

TEST(CompatibilityRoute, RefusesOtherWordsNumbersNamesAndMethods) {
  const std::string path = "/admin/v1/models/tiny/compatibility";
  for (const char* words : {"?context=15", "?context=x", "?parallel=0", "?parallel=257",
                            "?context=-1", "?device=cpu0", "?context=99999999999999999999"}) {
    const auto reply = ask(path + words);
    EXPECT_EQ(reply.status, 400) << words << reply.body;
  }
  EXPECT_EQ(Json::parse(ask(path + "?parallel=0").body)["error"]["param"], "parallel");
  EXPECT_EQ(ask("/admin/v1/models/other/compatibility").status, 404);
  EXPECT_EQ(ask("/admin/v1/models//compatibility").status, 404);
  EXPECT_EQ(ask("/admin/v1/models/tiny").status, 404);
  EXPECT_EQ(ask(path, "POST").status, 405);
  EXPECT_EQ(ask(path, "POST").header("allow"), "GET, HEAD");
}

TEST(CompatibilityJson, HasTheFixedFieldsAndNullForWhatIsUnknown) {
  CompatibilityReport report{.model = "m", .context = 4096, .parallel = 4};
  report.verdicts.push_back({.devices = {"cpu0"}, .fits = false, .short_bytes = 7, .why = {"so"}});
  report.verdicts.push_back({.devices = {"cpu0", "vulkan0"},
                             .fits = true,
                             .max_context = 8192,
                             .max_parallel = 9,
                             .predicted = Prediction{1.5, 20}});
  report.would_fit = {{"q4_k_m", 123, PublishedLoss{0.1754, "Llama 3 8B", "a table"}},
                      {"iq4_xs", 99, {}}};
  report.smaller_stages = {{"cpu0", {3, 5}, {"q4_K", 12, 256}}};
  report.never = Error{ErrorCode::kDoesNotFit, "too large"};
  const Json json = Json::parse(compatibility_json(report));
  EXPECT_EQ(json, Json::parse(R"({
    "model": "m", "context": 4096, "parallel": 4, "runs": false,
    "verdicts": [
      {"devices": ["cpu0"], "fits": false, "short_bytes": 7, "max_context": 0, "max_parallel": 0,
       "predicted": {"decode_tokens_per_s": null, "prefill_tokens_per_s": null}, "why": ["so"]},
      {"devices": ["cpu0", "vulkan0"], "fits": true, "short_bytes": 0, "max_context": 8192,
       "max_parallel": 9, "predicted": {"decode_tokens_per_s": 1.5, "prefill_tokens_per_s": 20.0},
       "why": []}],
    "would_fit": [
      {"type": "q4_k_m", "bytes": 123,
       "loss": {"added_perplexity": 0.1754, "measured_on": "Llama 3 8B", "source": "a table"}},
      {"type": "iq4_xs", "bytes": 99, "loss": null}],
    "smaller_stages": [{"device": "cpu0", "layers": [3, 5], "type": "q4_K"}],
    "cannot_run_why": "too large"})"));
}

TEST(CompatibilityJson, OfAFileThatCannotBeAskedHasNoVerdicts) {
  CompatibilityReport report{.model = "m"};
  report.never = Error{ErrorCode::kUnsupported, "architecture 'x'"};
  const Json json = Json::parse(compatibility_json(report));
  EXPECT_TRUE(json["context"].is_null());
  EXPECT_EQ(json["verdicts"], Json::array());
  EXPECT_EQ(json["cannot_run_why"], "architecture 'x'");
}

}  // namespace
}  // namespace gogrid::testing

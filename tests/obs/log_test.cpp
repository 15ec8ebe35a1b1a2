#include "obs/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace gogrid::log {
namespace {

using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { configure(Level::kWarning, Format::kText); }
};

TEST_F(LogTest, AJsonRecordIsOneObjectWithItsFieldsAndRequestId) {
  configure(Level::kInfo, Format::kJson);
  CaptureStderr();
  info("stage_loaded", {{"device", "cpu0"}, {"layers", std::int64_t{15}}, {"mapped", true}},
       "req-1");
  const auto record = nlohmann::json::parse(GetCapturedStderr());
  EXPECT_EQ(record["event"], "stage_loaded");
  EXPECT_EQ(record["level"], "info");
  EXPECT_EQ(record["request_id"], "req-1");
  EXPECT_EQ(record["device"], "cpu0");
  EXPECT_EQ(record["layers"], 15);
  EXPECT_EQ(record["mapped"], true);
  EXPECT_TRUE(record.contains("time"));
}

TEST_F(LogTest, HostileTextStaysInsideItsFieldAndItsLine) {
  for (const Format format : {Format::kJson, Format::kText}) {
    configure(Level::kInfo, format);
    CaptureStderr();
    info("refused", {{"why", "a\nlevel=error \"x\" \x1b[31m \xff"}});
    const std::string line = GetCapturedStderr();
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
  }
}

TEST_F(LogTest, TextPutsPlainWordsBareAndQuotesTheRest) {
  configure(Level::kInfo, Format::kText);
  CaptureStderr();
  info("model_ready", {{"model", "smollm2-135m"}, {"why", "two words"}});
  const std::string line = GetCapturedStderr();
  EXPECT_NE(line.find(" info model_ready model=smollm2-135m why=\"two words\"\n"),
            std::string::npos)
      << line;
}

TEST_F(LogTest, RecordsBelowTheLevelAreNotWritten) {
  configure(Level::kWarning, Format::kText);
  CaptureStderr();
  info("quiet");
  debug("quiet");
  warning("loud");
  const std::string lines = GetCapturedStderr();
  EXPECT_EQ(lines.find("quiet"), std::string::npos);
  EXPECT_NE(lines.find("loud"), std::string::npos);
}

TEST_F(LogTest, OffIsSilent) {
  configure(Level::kOff, Format::kText);
  CaptureStderr();
  error("anything");
  EXPECT_EQ(GetCapturedStderr(), "");
}

TEST(LogLevel, IsReadByNameAndRefusedByName) {
  EXPECT_EQ(parse_level("warning"), Level::kWarning);
  const auto bad = parse_level("loud");
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("'loud'"), std::string::npos);
}

}  // namespace
}  // namespace gogrid::log

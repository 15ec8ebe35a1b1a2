#include "service/compatibility_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "engine/calibration.h"
#include "support/gguf_builder.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CompatibilityServiceTest : public ::testing::Test {
 protected:
  CompatibilityServiceTest() {
    testing::write_tiny_model(path());
    device_.id = "cpu0";
    device_.named = true;
    device_.memory_free = device_.memory_total = 64 * kGiB;
    ledger_.set_cap("cpu0", 32 * kGiB);
  }
  std::filesystem::path path() const { return folder_ / "tiny.gguf"; }

  CompatibilityService service() {
    return CompatibilityService({.find = [this](std::string_view name) -> Result<CheckedModel> {
                                   if (name != "tiny")
                                     return fail(ErrorCode::kNotFound, "no such model", "model");
                                   return CheckedModel{"tiny", path(), digest_};
                                 },
                                 .devices = [this] { return std::vector<Device>{device_}; },
                                 .ledger = &ledger_,
                                 .measurements = folder_ / "measurements",
                                 .slices = folder_.path(),
                                 .usual = {.context = 256, .parallel = {}}});
  }
  CompatibilityReport check(const CheckOptions& options = {}) {
    auto report = service().check("tiny", options);
    if (!report) throw std::runtime_error(report.error().message);
    return *std::move(report);
  }

  const testing::TemporaryFolder folder_;
  Device device_ = testing::cpu_device();
  MemoryLedger ledger_;
  std::string digest_ = std::string(64, 'a');
};

TEST_F(CompatibilityServiceTest, AsksWhatTheModelWouldBeLoadedWithUnlessToldOtherwise) {
  EXPECT_EQ(check().context, 256U);
  EXPECT_EQ(check().parallel, 4U);
  EXPECT_TRUE(check().runs());
  const auto other = check({.context = 64, .parallel = 2});
  EXPECT_EQ(other.context, 64U);
  EXPECT_EQ(other.parallel, 2U);
}

TEST_F(CompatibilityServiceTest, KnowsTheSpeedOnceTheDeviceWasMeasured) {
  EXPECT_FALSE(check().verdicts[0].predicted);
  DeviceBudget measured;
  measured.layer_read_ms = 1;
  ASSERT_TRUE(calibration_cache(folder_ / "measurements").keep(digest_, device_, measured));
  ASSERT_TRUE(check().verdicts[0].predicted);
  EXPECT_GT(check().verdicts[0].predicted->decode_tokens_per_s, 0);
  digest_.clear();  // nobody has read all of the file
  EXPECT_FALSE(check().verdicts[0].predicted);
}

TEST_F(CompatibilityServiceTest, KeepsToTheCaps) {
  ledger_.set_cap("cpu0", 100'000);
  const auto report = check();
  ASSERT_FALSE(report.runs());
  EXPECT_EQ(report.never->code, ErrorCode::kDoesNotFit);
  EXPECT_GT(report.verdicts[0].short_bytes, 0U);
}

TEST_F(CompatibilityServiceTest, KeepsToADevicesOwnBudget) {
  device_.memory_budget = 100'000;
  EXPECT_FALSE(check().runs());
}

TEST_F(CompatibilityServiceTest, SaysOfWhatThisBuildCannotRunWhatLacks) {
  ASSERT_TRUE(write_file(
      path(),
      testing::GgufBuilder().key_text("general.architecture", "clip").floats("x", {32}).build()));
  const auto report = check();
  EXPECT_THAT(report.verdicts, IsEmpty());
  ASSERT_FALSE(report.runs());
  EXPECT_EQ(report.never->code, ErrorCode::kUnsupported);
  EXPECT_THAT(report.never->message, HasSubstr("architecture 'clip' is no language model"));
  testing::GgufBuilder newer;
  newer.tensor({"x", {32}, 99, std::string(32, 'x'), {}, {}});
  ASSERT_TRUE(write_file(path(), newer.build()));
  EXPECT_THAT(check().never->message, HasSubstr("99 (ggml"));
}

TEST_F(CompatibilityServiceTest, HandsErrorsUp) {
  EXPECT_EQ(service().check("other", {}).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(write_file(path(), "no model"));
  EXPECT_EQ(service().check("tiny", {}).error().code, ErrorCode::kCorrupt);
}

TEST_F(CompatibilityServiceTest, TellsOfArchitecturesThatCannotBeCut) {
  testing::write_tiny_model(path(), {.architecture = "gemma2"});
  EXPECT_THAT(check().verdicts[0].why, Contains(HasSubstr("no place to cut")));
}

}  // namespace
}  // namespace gogrid

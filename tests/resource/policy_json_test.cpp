#include "resource/policy_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> names_of(std::string_view text) {
  std::vector<std::string> names;
  for (const auto& setting : parse_policy_json(text).value()) names.push_back(setting.name);
  return names;
}

TEST(PolicyJson, NestedNamesAreJoinedByPoints) {
  EXPECT_THAT(names_of(R"({"nice": 3, "pause": {"cpu": 0.5, "enabled": false},
                           "devices": {"cpu.a": {"max_compute": null}}})"),
              ElementsAre("nice", "pause.cpu", "pause.enabled", "devices.cpu.a.max_compute"));
  EXPECT_THAT(names_of(R"({"pause.cpu": 0.5})"), ElementsAre("pause.cpu"));
  EXPECT_THAT(names_of("{}"), ElementsAre());
}

TEST(PolicyJson, ValuesKeepTheirTypes) {
  const auto settings = parse_policy_json(
      R"({"a": 1, "b": -1, "c": 0.5, "d": true, "e": "x", "f": null, "g": 18446744073709551615})");
  ASSERT_TRUE(settings);
  std::vector<PolicyValue> values;
  for (const auto& setting : *settings) values.push_back(setting.value);
  EXPECT_THAT(values,
              ElementsAre(PolicyValue(std::int64_t{1}), PolicyValue(std::int64_t{-1}),
                          PolicyValue(0.5), PolicyValue(true), PolicyValue(std::string("x")),
                          PolicyValue(std::monostate{}), PolicyValue(std::int64_t{1} << 62)));
}

TEST(PolicyJson, WhatIsWrittenReadsTheSame) {
  auto policy = with_settings(
      ResourcePolicy::of(ResourceMode::kConservative),
      std::vector<PolicySetting>{{"devices.cpu.a.max_compute", 0.25}, {"pause.gpu", 0.123456}});
  ASSERT_TRUE(policy);
  const auto settings = settings_of(*policy);
  const auto read = parse_policy_json(policy_json(settings));
  ASSERT_TRUE(read);
  EXPECT_EQ(with_settings(ResourcePolicy{}, *read), *policy);
}

TEST(PolicyJson, RefusesWhatIsNoPolicy) {
  for (const char* bad :
       {"", "nothing", "[]", "3", "\"mode\"", "null", "{", R"({"nice": [3]})", R"({"nice": 3,})",
        R"({"a": {"b": {"c": {"d": 1}}}})", "{\"a\": \"\xff\"}", R"({"nice": NaN})"}) {
    const auto settings = parse_policy_json(bad);
    ASSERT_FALSE(settings) << bad;
    EXPECT_EQ(settings.error().code, ErrorCode::kInvalidArgument) << bad;
  }
  const std::string deep = std::string(30'000, '[') + std::string(30'000, ']');
  EXPECT_FALSE(parse_policy_json(R"({"nice":)" + deep + "}"));
  EXPECT_EQ(parse_policy_json(std::string(kMaxPolicyText + 1, ' ')).error().code,
            ErrorCode::kTooLarge);
}

TEST(PolicyJson, AFaultNamesItsField) {
  EXPECT_EQ(parse_policy_json(R"({"pause": {"cpu": [1]}})").error().param, "pause.cpu");
  EXPECT_THAT(parse_policy_json(R"({"pause": {"cpu": [1]}})").error().message,
              HasSubstr("got an array"));
}

}  // namespace
}  // namespace gogrid

#include "model/bounded_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace gogrid {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view text, const JsonLimits& limits) {
  const auto json = parse_json(text, "x", limits);
  EXPECT_FALSE(json);
  return json ? std::string() : json.error().message;
}

TEST(BoundedJson, BracketsAndCommasInTextsDoNotCount) {
  const auto json =
      parse_json(R"({"a":"[[[,,,\"]]]{{","b":[1,2]})", "x", {.depth = 2, .values = 5});
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ((*json)["b"][1], 2);
}

TEST(BoundedJson, TooDeepTooManyAndTooLargeAreRefused) {
  EXPECT_THAT(refusal("[[[1]]]", {.depth = 2}), HasSubstr("at most 2 levels"));
  EXPECT_THAT(refusal(std::string(1'000'000, '['), {}), HasSubstr("at most 64 levels"));
  EXPECT_THAT(refusal("[1,2,3,4]", {.values = 4}), HasSubstr("at most 4 values"));
  EXPECT_THAT(refusal("[1,2,3,4]", {.size = 8}), HasSubstr("at most 8 B"));
}

TEST(BoundedJson, WhatIsNoJsonIsRefused) {
  for (const char* text : {"", "{", "]", "\"", "\"\\", "{\"a\":\"\xFF\"}", "[1,]", "nul"}) {
    EXPECT_EQ(refusal(text, {}), "[json] x: expected JSON: it is none") << text;
  }
}

}  // namespace
}  // namespace gogrid

#include "request/sampling_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace gogrid {
namespace {

using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Field {
  std::string name;
  std::function<void(SamplingSpec&, float)> set;
  std::vector<float> good;
  std::vector<float> bad;
};

std::vector<Field> fields() {
  return {
      {"temperature",
       [](SamplingSpec& s, float v) { s.temperature = v; },
       {0, 1, 2},
       {-0.01F, 2.01F, kNan, kInfinity}},
      {"top_k",
       [](SamplingSpec& s, float v) { s.top_k = static_cast<int>(v); },
       {0, 1, 100000},
       {-1, -1000}},
      {"top_p",
       [](SamplingSpec& s, float v) { s.top_p = v; },
       {0.001F, 0.5F, 1},
       {0, -0.1F, 1.01F, kNan, -kInfinity}},
      {"min_p",
       [](SamplingSpec& s, float v) { s.min_p = v; },
       {0, 0.05F, 1},
       {-0.01F, 1.01F, kNan, kInfinity}},
      {"frequency_penalty",
       [](SamplingSpec& s, float v) { s.frequency_penalty = v; },
       {-2, 0, 2},
       {-2.01F, 2.01F, kNan, kInfinity}},
      {"presence_penalty",
       [](SamplingSpec& s, float v) { s.presence_penalty = v; },
       {-2, 0, 2},
       {-2.01F, 2.01F, kNan, -kInfinity}},
      {"repeat_penalty",
       [](SamplingSpec& s, float v) { s.repeat_penalty = v; },
       {0.1F, 1, 10},
       {0, -1, 10.1F, kNan, kInfinity}},
      {"repeat_window",
       [](SamplingSpec& s, float v) { s.repeat_window = static_cast<int>(v); },
       {0, 64, 100000},
       {-1}},
      {"top_logprobs",
       [](SamplingSpec& s, float v) { s.top_logprobs = static_cast<int>(v); },
       {-1, 0, 20},
       {-2, 21}},
      {"logit_bias",
       [](SamplingSpec& s, float v) { s.logit_bias = {{7, v}}; },
       {-100, 0, 100},
       {-100.1F, 100.1F, kNan, kInfinity}},
  };
}

TEST(SamplingSpec, DefaultIsValid) { EXPECT_TRUE(validate(SamplingSpec{})); }

TEST(SamplingSpec, TakesTheEdgesOfEachRange) {
  for (const Field& field : fields()) {
    for (const float value : field.good) {
      SamplingSpec spec;
      field.set(spec, value);
      EXPECT_TRUE(validate(spec)) << field.name << " " << value;
    }
  }
}

TEST(SamplingSpec, RefusesWhatIsOutsideAndNamesTheField) {
  for (const Field& field : fields()) {
    for (const float value : field.bad) {
      SamplingSpec spec;
      field.set(spec, value);
      const Status status = validate(spec);
      ASSERT_FALSE(status) << field.name << " " << value;
      EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
      EXPECT_EQ(status.error().param, field.name);
      EXPECT_THAT(status.error().message, HasSubstr("[sampling] " + field.name));
    }
  }
}

TEST(SamplingSpec, SaysTheRangeAndWhatCame) {
  SamplingSpec spec;
  spec.temperature = 2.5F;
  EXPECT_EQ(validate(spec).error().message, "[sampling] temperature from 0 to 2: 2.5");
  spec.temperature = 1;
  spec.top_p = 0;
  EXPECT_EQ(validate(spec).error().message, "[sampling] top_p above 0 to 1: 0");
}

TEST(SamplingSpec, RefusesABiasOfANegativeToken) {
  SamplingSpec spec;
  spec.logit_bias = {{1, 1}, {-1, 1}};
  EXPECT_EQ(validate(spec).error().param, "logit_bias");
}

TEST(SamplingSpec, KnowsWhenItNeedsTheHistory) {
  SamplingSpec spec;
  EXPECT_FALSE(spec.penalizes());
  spec.repeat_penalty = 1.1F;
  EXPECT_TRUE(spec.penalizes());
  spec.repeat_window = 0;
  EXPECT_FALSE(spec.penalizes());
  spec.presence_penalty = -0.1F;
  EXPECT_TRUE(spec.penalizes());
}

}  // namespace
}  // namespace gogrid

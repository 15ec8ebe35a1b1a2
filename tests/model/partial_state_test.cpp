#include "model/partial_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

PartialState example() {
  PartialState state{"hf:o/r:m.gguf@main", 1000, std::string(64, 'a'), "\"v1\"", {}};
  state.present.add({0, 100});
  state.present.add({200, 300});
  return state;
}

TEST(PartialState, ComesBackAsItWasWritten) {
  const auto state = parse_partial_state(format_partial_state(example()), "f");
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->source, "hf:o/r:m.gguf@main");
  EXPECT_EQ(state->size, 1000U);
  EXPECT_EQ(state->sha256, std::string(64, 'a'));
  EXPECT_EQ(state->validator, "\"v1\"");
  EXPECT_THAT(state->present.ranges(), ElementsAre(ByteRange{0, 100}, ByteRange{200, 300}));
  PartialState bare{"u", 1, "", "", {}};
  EXPECT_TRUE(parse_partial_state(format_partial_state(bare), "f"));
}

TEST(PartialState, CutOffAnywhereIsNothing) {
  const std::string text = format_partial_state(example());
  for (std::size_t size = 0; size + 1 < text.size(); ++size)
    EXPECT_FALSE(parse_partial_state(text.substr(0, size), "f")) << size;
}

TEST(PartialState, ClaimsNothingOutsideTheFile) {
  const auto refusal = [](const std::string& line) {
    const auto state = parse_partial_state(
        "gogrid-partial 1\nsource s\nsize 1000\nsha256 \nvalidator \n" + line + "\nend\n", "f");
    return state ? "accepted" : state.error().message;
  };
  EXPECT_EQ(refusal("present 0 1000"), "accepted");
  for (const char* line : {"present 0 1001", "present 5 5", "present 6 5", "present -1 5",
                           "present 0", "present 0 1 2", "other", "present 0 99999999999999999999"})
    EXPECT_THAT(refusal(line), HasSubstr("[pull] f: expected")) << line;
}

TEST(PartialState, TakesAForeignTextAsOneLine) {
  PartialState state = example();
  state.validator = "\"v\"\npresent 0 1000";
  const auto back = parse_partial_state(format_partial_state(state), "f");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->present.total(), 200U);
}

TEST(PartialState, GoesOnOnlyWhereBytesAreTheSame) {
  const PartialState kept = example();
  PartialState wanted = kept;
  wanted.validator = "\"another server's\"";
  EXPECT_TRUE(continues(kept, wanted)) << "the digest says enough";
  wanted.sha256 = std::string(64, 'b');
  EXPECT_FALSE(continues(kept, wanted));
  wanted = kept;
  wanted.size = 1001;
  EXPECT_FALSE(continues(kept, wanted));
  wanted = kept;
  wanted.sha256 = "";
  EXPECT_TRUE(continues(kept, wanted)) << "the same version";
  wanted.validator = "\"v2\"";
  EXPECT_FALSE(continues(kept, wanted));
  PartialState nameless = kept;
  nameless.sha256 = nameless.validator = "";
  EXPECT_FALSE(continues(nameless, nameless)) << "nobody can tell";
}

}  // namespace
}  // namespace gogrid

#include "model/tensor_recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TensorRecipe, ReadsANameAndAType) {
  const auto made = parse_tensor_override("blk\\.[0-3]\\.ffn_down=Q6_K");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->pattern, "blk\\.[0-3]\\.ffn_down");
  EXPECT_EQ(made->type.name, "q6_K");
}

TEST(TensorRecipe, LetsAPatternHaveTheSignThatEndsIt) {
  EXPECT_EQ(parse_tensor_override("attn(?=_v)=q8_0")->pattern, "attn(?=_v)");
}

TEST(TensorRecipe, SaysWhichPartIsWrong) {
  for (const auto& [text, what] : std::vector<std::pair<std::string, std::string>>{
           {"attn_v", "NAME=TYPE"},
           {"=q8_0", "1 to 256"},
           {std::string(300, 'a') + "=q8_0", "1 to 256"},
           {"attn_v=", "a type of weights"},
           {"attn_v=q8_00", "q8_0"},
           {"attn_v(=q8_0", "a regular expression"},
           {"[z-a]=q8_0", "a regular expression"}}) {
    const auto made = parse_tensor_override(text);
    ASSERT_FALSE(made) << text;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(made.error().message, HasSubstr(what));
  }
}

TEST(TensorRecipe, OfAFileHasWordsLinesAndComments) {
  const auto made = parse_recipe(
      "# values and keys\nattn_v=q8_0 attn_k=q6_k   # both\r\n\n\tffn_down=iq4_nl", "r.txt");
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_EQ(made->size(), 3U);
  EXPECT_EQ((*made)[1].pattern, "attn_k");
  EXPECT_EQ((*made)[2].type.name, "iq4_nl");
  EXPECT_THAT(parse_recipe("", "r.txt").value(), IsEmpty());
}

TEST(TensorRecipe, NamesFileAndLineOfWhatIsWrong) {
  const auto made = parse_recipe("attn_v=q8_0\nattn_k\n", "r.txt");
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("r.txt:2: expected NAME=TYPE"));
}

}  // namespace
}  // namespace gogrid

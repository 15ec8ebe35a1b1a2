#include "model/tensor_recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

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

TEST(TensorRecipe, RefusesWhatCouldTakeForEver) {
  for (const char* pattern :
       {"(a+)+b", "(a*)*", "(a|a)*b", "(a|ab)+c", "((a|b)c)*", "(x?y)*", "a*a*a*a*b", "(a+){9}",
        "([ab]+)*", "(.)\\1", "(?:a+)+", ".*.*.*.*"}) {
    const auto made = parse_tensor_override(std::string(pattern) + "=q8_0");
    ASSERT_FALSE(made) << pattern;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(made.error().message, HasSubstr("that ends in time")) << pattern;
  }
}

TEST(TensorRecipe, TakesWhatPeopleWrite) {
  for (const char* pattern :
       {"blk\\.(1|2|3[0-9])\\.ffn_.*", "blk\\.[0-9]+\\.attn_(q|k|v)", "(blk\\.\\d+\\.)?attn_v",
        "ffn_(gate|up)(_exps)?", "^output\\.weight$", "[*+{]x", "\\*\\+\\*\\+", "(ab)*c",
        "attn(?=_v)", "attn(?!_v).*"})
    EXPECT_TRUE(parse_tensor_override(std::string(pattern) + "=q8_0")) << pattern;
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

std::string type_by(std::span<const TensorOverride> overrides, const std::string& name) {
  for (const TensorOverride& entry : overrides) {
    if (std::regex_search(name, std::regex(entry.pattern))) return std::string(entry.type.name);
  }
  return "none";
}

TEST(TensorRecipe, OfTensorsFitsThemAndNoOthers) {
  const WeightType q8 = find_weight_type("q8_0").value();
  const WeightType q4 = find_weight_type("q4_k").value();
  const std::vector<TypedTensor> tensors{{"blk.0.attn_v.weight", q8},
                                         {"blk.1.attn_v.weight", q4},
                                         {"blk.10.attn_v.weight", q8},
                                         {"output.weight", q4},
                                         {"odd name=#[1].weight", q8}};
  const auto overrides = overrides_for(tensors);
  EXPECT_EQ(overrides.size(), 4U);
  for (const TypedTensor& tensor : tensors)
    EXPECT_EQ(type_by(overrides, tensor.name), tensor.type.name) << tensor.name;
  for (const char* other : {"blk.11.attn_v.weight", "blk.0.attn_v.weight2", "xblk.0.attn_v.weight",
                            "blk.0.attn_v_weight", "outputXweight", "odd name=#1.weight"})
    EXPECT_EQ(type_by(overrides, other), "none") << other;
}

TEST(TensorRecipe, IsReadBackAsItWasWritten) {
  std::vector<TypedTensor> tensors;
  const auto types = weight_type_names();
  for (int layer = 0; layer < 300; ++layer)
    tensors.push_back({"blk." + std::to_string(layer) + ".ffn_down_exps.weight",
                       find_weight_type(types[static_cast<std::size_t>(layer) % 3]).value()});
  tensors.push_back({"odd name=#[1].weight", find_weight_type("q6_k").value()});
  const auto overrides = overrides_for(tensors);
  EXPECT_LT(overrides.size(), 20U);
  const auto read = parse_recipe(format_recipe(overrides), "recipe");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), overrides.size());
  for (const TypedTensor& tensor : tensors)
    EXPECT_EQ(type_by(*read, tensor.name), tensor.type.name) << tensor.name;
}

}  // namespace
}  // namespace gogrid

#include "app/model_argument.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;

TEST(ModelArgument, WithoutAPlusIsAModelAlone) {
  const auto argument = parse_model_argument("smollm2-135m");
  ASSERT_TRUE(argument);
  EXPECT_EQ(argument->base, "smollm2-135m");
  EXPECT_EQ(argument->adapter, "");
}

TEST(ModelArgument, NamesAnAdapterBehindThePlusAndItsScaleBehindTheAt) {
  const auto plain = parse_model_argument("base+polite");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->base, "base");
  EXPECT_EQ(plain->adapter, "polite");
  EXPECT_EQ(plain->scale, 1.0F);
  const auto scaled = parse_model_argument("models/base.gguf+lora/polite.gguf@0.5");
  ASSERT_TRUE(scaled);
  EXPECT_EQ(scaled->base, "models/base.gguf");
  EXPECT_EQ(scaled->adapter, "lora/polite.gguf");
  EXPECT_EQ(scaled->scale, 0.5F);
}

TEST(ModelArgument, AnAtBeforeNoNumberIsOfTheName) {
  EXPECT_EQ(parse_model_argument("base+a@home/polite.gguf")->adapter, "a@home/polite.gguf");
}

TEST(ModelArgument, TheFileOfThatNameIsOneModel) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "a+b.gguf";
  EXPECT_EQ(parse_model_argument(path)->adapter, "b.gguf");
  std::ofstream(path) << "GGUF";
  EXPECT_EQ(parse_model_argument(path)->base, path);
  EXPECT_EQ(parse_model_argument(path + "+polite")->base, path);
}

TEST(ModelArgument, APlusOfAPathIsNoneBetweenTheTwo) {
  const testing::TemporaryFolder folder;
  const std::string base = folder / "base.gguf";
  std::ofstream(base) << "GGUF";
  const auto argument = parse_model_argument(base + "+/home/c++/a.gguf@2");
  ASSERT_TRUE(argument);
  EXPECT_EQ(argument->base, base);
  EXPECT_EQ(argument->adapter, "/home/c++/a.gguf");
  EXPECT_EQ(argument->scale, 2.0F);
  EXPECT_EQ(parse_model_argument("base+/home/c++/a.gguf")->adapter, "/home/c++/a.gguf");
}

TEST(ModelArgument, AnEmptySideAndAScaleOutOfRangeAreRefusedWithWhatIsExpected) {
  for (const char* text :
       {"+polite", "base+", "base+@2", "base+polite@0", "base+polite@-1", "base+polite@101",
        "base+polite@1e99", "base+polite@1e-99", "base+polite@nan", "base+polite@inf"}) {
    const auto argument = parse_model_argument(text);
    ASSERT_FALSE(argument) << text;
    EXPECT_EQ(argument.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(argument.error().message, HasSubstr("BASE+ADAPTER@SCALE"));
  }
}

}  // namespace
}  // namespace gogrid

// Every type of ggml's own table is read, named and sized as ggml does; no other is.
#include "model/tensor_types.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>

#include "model/gguf_file.h"
#include "support/gguf_builder.h"

namespace gogrid {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;

// A file with one tensor of two blocks of this type.
Result<std::string> name_and_size(std::uint32_t type, std::uint64_t row, std::size_t bytes) {
  GgufBuilder builder;
  builder.tensor({"a", {row}, type, std::string(bytes, '\0'), {}, {}});
  const std::string file = builder.build();
  GOGRID_ASSIGN_OR_RETURN(const GgufFile parsed,
                          GgufFile::parse(std::as_bytes(std::span(file)), "types.gguf"));
  const GgufTensor& tensor = parsed.tensors().front();
  return std::string(tensor.type_name) + " " + std::to_string(tensor.size);
}

TEST(TensorTypes, AreThoseOfGgmlByNameAndSize) {
  int named = 0;
  for (std::uint32_t number = 0; number < GGML_TYPE_COUNT; ++number) {
    const auto type = static_cast<ggml_type>(number);
    const auto found = find_tensor_type(number);
    if (ggml_blck_size(type) == 0 || ggml_type_size(type) == 0) {
      EXPECT_FALSE(found) << number;
      continue;
    }
    ASSERT_TRUE(found) << number;
    EXPECT_EQ(found->name, ggml_type_name(type));
    EXPECT_EQ(find_tensor_type(found->name)->number, number);
    const auto row = 2 * static_cast<std::uint64_t>(ggml_blck_size(type));
    const std::size_t bytes = ggml_row_size(type, static_cast<std::int64_t>(row));
    const auto parsed = name_and_size(number, row, bytes);
    if (found->intermediate) {
      ASSERT_FALSE(parsed);
      EXPECT_THAT(parsed.error().message, HasSubstr("intermediate results"));
      continue;
    }
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, std::string(ggml_type_name(type)) + " " + std::to_string(bytes));
    ++named;
  }
  EXPECT_GE(named, 30);
}

// A library whose table has grown is noticed here: its newest type must be read by name.
TEST(TensorTypes, EndWithTheNewestOfThisGgml) {
  ASSERT_TRUE(find_tensor_type(GGML_TYPE_COUNT - 1));
  EXPECT_EQ(find_tensor_type(GGML_TYPE_Q2_0)->name, "q2_0");
  EXPECT_EQ(find_tensor_type(GGML_TYPE_NVFP4)->name, "nvfp4");
}

TEST(TensorTypes, SayOfANumberThatIsNoneWhatLacks) {
  EXPECT_FALSE(find_tensor_type(GGML_TYPE_COUNT));
  EXPECT_FALSE(find_tensor_type("q4_2"));
  const auto newer = name_and_size(GGML_TYPE_COUNT + 7, 32, 32);
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(newer.error().message, HasSubstr(ggml_version()));
  EXPECT_THAT(newer.error().message,
              HasSubstr("knows types up to " + std::to_string(GGML_TYPE_COUNT - 1)));
  EXPECT_THAT(name_and_size(31, 32, 32).error().message,
              HasSubstr("q4_0_4_4, which ggml reads no"));
}

TEST(TensorTypes, KnowTheirBits) {
  EXPECT_DOUBLE_EQ(find_tensor_type("f16")->bits_per_weight(), 16.0);
  EXPECT_DOUBLE_EQ(find_tensor_type("q4_0")->bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(find_tensor_type("q6_K")->bits_per_weight(), 6.5625);
}

}  // namespace
}  // namespace gogrid

#include "model/model_difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>

#include "support/gguf_builder.h"

namespace gogrid {
namespace {

using testing::GgufBuilder;
using ::testing::IsEmpty;

ModelDifference compare(const GgufBuilder& left, const GgufBuilder& right) {
  const std::string ours = left.build();
  const std::string theirs = right.build();
  const auto a = GgufFile::parse(std::as_bytes(std::span(ours)), "left");
  const auto b = GgufFile::parse(std::as_bytes(std::span(theirs)), "right");
  if (!a || !b) throw std::runtime_error("not parsed");
  return compare_models(*a, *b);
}

// "name: left | right", one a line.
std::string lines(const std::vector<Difference>& differences) {
  std::string text;
  for (const Difference& difference : differences) {
    text += difference.name + ": " + difference.left + " | " + difference.right + "\n";
  }
  return text;
}

std::string metadata(const GgufBuilder& left, const GgufBuilder& right) {
  return lines(compare(left, right).metadata);
}

GgufBuilder with_strings(const std::vector<std::string>& values) {
  return GgufBuilder().key("t", GgufBuilder::kArray, GgufBuilder::strings(values));
}

TEST(ModelDifference, IsNoneBetweenAFileAndItself) {
  GgufBuilder file = with_strings({"a", "b"});
  file.key_u32("n", 1).floats("x", {4});
  EXPECT_THAT(compare(file, file).metadata, IsEmpty());
  EXPECT_THAT(compare(file, file).tensors, IsEmpty());
}

TEST(ModelDifference, IsToldOfValuesTypesAndPresence) {
  GgufBuilder left;
  GgufBuilder right;
  left.key_text("same", "x").key_text("name", "a\nb").key_u32("n", 1).key_u32("left", 7);
  right.key_text("name", std::string(100, 'z')).key_text("same", "x");
  right.key("n", GgufBuilder::kU64, GgufBuilder::number(std::uint64_t{1}));
  right.key("right", GgufBuilder::kF32, GgufBuilder::number(0.5F));
  EXPECT_EQ(metadata(left, right), "name: \"a b\" | \"" + std::string(60, 'z') +
                                       "...\"\n"
                                       "n: 1 (u32) | 1 (u64)\n"
                                       "left: 7 | absent\n"
                                       "right: absent | 0.5\n");
}

TEST(ModelDifference, OfArraysTellsTheFirstElementThatDiffers) {
  EXPECT_EQ(metadata(with_strings({"a", "b", "c"}), with_strings({"a", "x"})),
            "t: 3 strings, [1] b | 2 strings, [1] x\n");
  EXPECT_EQ(metadata(with_strings({"a"}), with_strings({"a", "b"})), "t: 1 string | 2 strings\n");
  const std::string alike(40, 'q');  // longer than what is shown
  EXPECT_EQ(metadata(with_strings({alike + "1"}), with_strings({alike + "2"})),
            "t: 1 string, [0] qqqqqqqqqqqqqqqqqqqqqqqq... | 1 string, [0] "
            "qqqqqqqqqqqqqqqqqqqqqqqq...\n");
  const auto numbers = [](const std::vector<std::uint16_t>& values) {
    return GgufBuilder().key("t", GgufBuilder::kArray,
                             GgufBuilder::array_of(GgufBuilder::kU16, values));
  };
  EXPECT_EQ(metadata(numbers({1, 2, 3}), numbers({1, 2, 259})),
            "t: 3 u16s, [2] 3 | 3 u16s, [2] 259\n");
  EXPECT_EQ(metadata(numbers({1}), with_strings({"a"})), "t: 1 u16 | 1 string\n");
}

TEST(ModelDifference, OfTensorsTellsTypeShapeBytesAndPresence) {
  GgufBuilder left;
  GgufBuilder right;
  left.floats("same", {4}, 1).floats("turned", {2, 3}).floats("retyped", {32}).floats("gone", {1});
  right.floats("same", {4}, 2);  // other data: not looked at
  right.floats("turned", {3, 2});
  right.tensor({"retyped", {32}, GgufBuilder::kTensorQ8_0, std::string(34, 'x'), {}, {}});
  right.floats("new", {5});
  EXPECT_EQ(lines(compare(left, right).tensors),
            "turned: f32 2x3, 24 bytes | f32 3x2, 24 bytes\n"
            "retyped: f32 32, 128 bytes | q8_0 32, 34 bytes\n"
            "gone: f32 1, 4 bytes | absent\n"
            "new: absent | f32 5, 20 bytes\n");
}

}  // namespace
}  // namespace gogrid

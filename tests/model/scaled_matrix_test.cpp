// Every shape and type of scales, against weights that the test scaled itself; and matrices that
// are broken, one thing at a time.
#include "model/scaled_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "support/scaled_weights.h"

namespace gogrid {
namespace {

using testing::add_scaled;
using testing::bytes_of;
using ::testing::HasSubstr;
using testing::SafetensorsBuilder;
using testing::scaled_example;
using testing::ScaledExample;
using testing::ScaleOptions;
using testing::ScaleShape;

// A file in memory with one matrix, "w".
class OneMatrix {
 public:
  explicit OneMatrix(std::string bytes)
      : bytes_(std::move(bytes)),
        file_(SafetensorsFile::parse(std::as_bytes(std::span(bytes_)), "test").value()) {}
  explicit OneMatrix(const ScaledExample& example) : OneMatrix(built(example)) {}

  Result<ScaledMatrix> open(const ScaledFormat& format) const {
    return ScaledMatrix::open(format, "w",
                              {view("weight"), view("weight_scale"), view("weight_scale_inv")});
  }

 private:
  static std::string built(const ScaledExample& example) {
    SafetensorsBuilder builder;
    add_scaled(builder, "w", example);
    return builder.build();
  }
  TensorView view(const std::string& part) const {
    const SafetensorsTensor* tensor = file_.tensor("w." + part);
    return tensor == nullptr ? TensorView{} : TensorView{tensor, file_.data(*tensor)};
  }

  std::string bytes_;
  SafetensorsFile file_;
};

ScaledFormat format_of(const ScaleOptions& options) {
  ScaledFormat format;
  if (options.shape == ScaleShape::kBlocks) {
    format.block = BlockSize{options.block_rows, options.block_columns};
  }
  return format;
}

void expect_equal(std::uint32_t rows, std::uint32_t columns, const ScaleOptions& options) {
  const ScaledExample example = scaled_example(rows, columns, options);
  const OneMatrix file(example);
  const auto matrix = file.open(format_of(options));
  ASSERT_TRUE(matrix) << matrix.error().message;
  ASSERT_EQ(matrix->rows(), rows);
  ASSERT_EQ(matrix->columns(), columns);
  const std::vector<float> expected = example.weights();
  // Whole; in steps that begin and end anywhere.
  for (const std::size_t step : {expected.size(), std::size_t{7}, std::size_t{columns}}) {
    std::vector<float> came(expected.size());
    for (std::size_t first = 0; first < came.size(); first += step) {
      const std::size_t count = std::min(step, came.size() - first);
      matrix->read(first, std::span(came).subspan(first, count));
    }
    EXPECT_EQ(came, expected) << step;
  }
}

TEST(ScaledMatrix, EveryShapeAndTypeOfScalesMultipliesItsWeights) {
  for (const ScaleShape shape : {ScaleShape::kNumber, ScaleShape::kOne, ScaleShape::kRows,
                                 ScaleShape::kRowsOfOne, ScaleShape::kBlocks}) {
    for (const char* type : {"F32", "BF16", "F16"}) {
      for (const char* part : {"weight_scale", "weight_scale_inv"}) {
        SCOPED_TRACE(type);
        expect_equal(
            70, 50,
            {.shape = shape, .part = part, .type = type, .block_rows = 32, .block_columns = 16});
      }
    }
  }
}

TEST(ScaledMatrix, BlocksMayBeLargerThanTheMatrixCutItEvenlyOrHoldOneWeight) {
  for (const auto& [rows, columns] : {std::pair{128U, 128U}, {64U, 32U}, {1U, 1U}, {3U, 200U}}) {
    SCOPED_TRACE(rows);
    expect_equal(64, 96,
                 {.shape = ScaleShape::kBlocks, .block_rows = rows, .block_columns = columns});
  }
}

TEST(ScaledMatrix, ASingleRowOrWeightIsNoSpecialCase) {
  expect_equal(1, 33, {.shape = ScaleShape::kRowsOfOne});
  expect_equal(33, 1, {.shape = ScaleShape::kRows});
  expect_equal(1, 1, {.shape = ScaleShape::kBlocks});
}

// A weight of 6 x 4 and one tensor of scales.
std::string with_scale(const std::string& type, const std::vector<std::uint64_t>& shape,
                       const std::string& data) {
  SafetensorsBuilder builder;
  builder.tensor("w.weight", "F8_E4M3", {6, 4}, std::string(24, '\x38'));
  builder.tensor("w.weight_scale", type, shape, data);
  return builder.build();
}

std::string floats(std::size_t count, float value = 1) {
  return bytes_of(std::vector<float>(count, value));
}

void expect_corrupt(const std::string& bytes, const ScaledFormat& format, const std::string& says) {
  const OneMatrix file(bytes);
  const auto matrix = file.open(format);
  ASSERT_FALSE(matrix) << says;
  EXPECT_EQ(matrix.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(matrix.error().message, HasSubstr(says));
}

TEST(ScaledMatrix, ScalesOfAnotherShapeAreRefused) {
  const std::string one =
      "tensor \"w\".weight_scale: expected one number, or 6 for as many rows, of F32, BF16 or F16 "
      "for fp8, a scale a tensor or row: ";
  const std::vector<std::pair<std::vector<std::uint64_t>, std::string>> cases{
      {{4}, "4 of F32"},        {{1, 6}, "1 x 6 of F32"},        {{6, 2}, "6 x 2 of F32"},
      {{6, 4}, "6 x 4 of F32"}, {{6, 1, 1}, "6 x 1 x 1 of F32"}, {{1, 1, 1}, "1 x 1 x 1 of F32"},
      {{0}, "0 of F32"}};
  for (const auto& [shape, came] : cases) {
    std::size_t count = 1;
    for (const std::uint64_t dimension : shape) count *= dimension;
    expect_corrupt(with_scale("F32", shape, floats(count)), {}, one + came);
  }
  ScaledFormat blocks;
  blocks.block = BlockSize{4, 4};
  const std::string two = "expected 2 x 1 of F32, BF16 or F16 for fp8, blocks of 4 x 4: ";
  expect_corrupt(with_scale("F32", {1, 2}, floats(2)), blocks, two + "1 x 2 of F32");
  expect_corrupt(with_scale("F32", {2}, floats(2)), blocks, two + "2 of F32");
  expect_corrupt(with_scale("F32", {}, floats(1)), blocks, two + "one number of F32");
  expect_corrupt(with_scale("F32", {6, 1}, floats(6)), blocks, two + "6 x 1 of F32");
}

TEST(ScaledMatrix, ScalesOfAnotherTypeAreRefused) {
  expect_corrupt(with_scale("F64", {1}, std::string(8, '\0')), {}, ": 1 of F64");
  expect_corrupt(with_scale("F8_E4M3", {1}, std::string(1, '\x38')), {}, ": 1 of F8_E4M3");
  expect_corrupt(with_scale("U8", {6, 1}, std::string(6, '\x38')), {}, ": 6 x 1 of U8");
}

TEST(ScaledMatrix, ScalesThatAreNoNumbersAreRefused) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> scales(6, 1);
    scales[5] = bad;
    expect_corrupt(with_scale("F32", {6}, bytes_of(scales)), {},
                   "tensor \"w\".weight_scale: expected finite scales: one is infinite");
  }
  expect_corrupt(with_scale("BF16", {1}, std::string("\x80\x7F", 2)), {}, "expected finite scales");
  expect_corrupt(with_scale("F16", {1}, std::string("\x00\x7C", 2)), {}, "expected finite scales");
}

TEST(ScaledMatrix, ScalesAreThereOnce) {
  SafetensorsBuilder none;
  none.tensor("w.weight", "F8_E4M3", {6, 4}, std::string(24, '\x38'));
  expect_corrupt(none.build(), {},
                 "tensor \"w\".weight: expected weight_scale or weight_scale_inv beside it, since "
                 "config.json says fp8, a scale a tensor or row: absent");
  SafetensorsBuilder both;
  both.tensor("w.weight", "F8_E4M3", {6, 4}, std::string(24, '\x38'));
  both.floats("w.weight_scale", {}, {1}).floats("w.weight_scale_inv", {}, {1});
  expect_corrupt(both.build(), {}, "expected weight_scale or weight_scale_inv beside it: both");
}

TEST(ScaledMatrix, WeightsThatAreNoMatrixOfE4M3AreRefused) {
  const auto of = [](const char* type, const std::vector<std::uint64_t>& shape, std::size_t bytes) {
    SafetensorsBuilder builder;
    builder.tensor("w.weight", type, shape, std::string(bytes, '\x38'));
    return builder.floats("w.weight_scale", {}, {1}).build();
  };
  const std::vector<std::tuple<std::string, std::string>> cases{
      {of("F8_E5M2", {6, 4}, 24), "expected F8_E4M3, since it has scales: F8_E5M2"},
      {of("BF16", {6, 2}, 24), "expected F8_E4M3, since it has scales: BF16"},
      {of("F8_E4M3", {24}, 24), "expected two dimensions from 1 on: 24"},
      {of("F8_E4M3", {2, 3, 4}, 24), "expected two dimensions from 1 on: 2 x 3 x 4"},
      {of("F8_E4M3", {0, 4}, 0), "expected two dimensions from 1 on: 0 x 4"},
      {of("F8_E4M3", {4, 0}, 0), "expected two dimensions from 1 on: 4 x 0"}};
  for (const auto& [bytes, says] : cases) expect_corrupt(bytes, {}, says);
}

}  // namespace
}  // namespace gogrid

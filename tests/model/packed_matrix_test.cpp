// Every width, order and way of storing zeros, against codes that the test packed itself; and
// matrices that are broken, one thing at a time.
#include "model/packed_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "base/format.h"
#include "support/packed_weights.h"

namespace gogrid {
namespace {

using testing::add_packed;
using testing::bytes_of;
using testing::ExampleOptions;
using ::testing::HasSubstr;
using testing::packed_example;
using testing::PackedExample;
using testing::SafetensorsBuilder;

PackedFormat format_of(const ExampleOptions& options) {
  PackedFormat format;
  format.method = options.method == "awq" ? PackingMethod::kAwq : PackingMethod::kGptq;
  format.bits = options.bits;
  format.group_size = options.group_size;
  format.symmetric = options.symmetric;
  format.act_order = options.act_order;
  format.zeros = options.method == "gptq" && options.zeros_less_one ? StoredZeros::kLessOne
                                                                    : StoredZeros::kPlain;
  return format;
}

// A file in memory with one matrix, "w".
class OneMatrix {
 public:
  explicit OneMatrix(std::string bytes)
      : bytes_(std::move(bytes)),
        file_(SafetensorsFile::parse(std::as_bytes(std::span(bytes_)), "test").value()) {}
  explicit OneMatrix(const PackedExample& example) : OneMatrix(packed(example)) {}

  Result<PackedMatrix> open(const PackedFormat& format) const {
    return PackedMatrix::open(format, "w",
                              {view("qweight"), view("qzeros"), view("scales"), view("g_idx")});
  }

 private:
  static std::string packed(const PackedExample& example) {
    SafetensorsBuilder builder;
    add_packed(builder, "w", example);
    return builder.build();
  }
  TensorView view(const std::string& part) const {
    const SafetensorsTensor* tensor = file_.tensor("w." + part);
    return tensor == nullptr ? TensorView{} : TensorView{tensor, file_.data(*tensor)};
  }

  std::string bytes_;
  SafetensorsFile file_;
};

std::vector<std::uint8_t> codes_of(const PackedMatrix& matrix,
                                   const std::vector<std::uint64_t>& rows) {
  std::vector<std::uint8_t> codes(rows.size() * matrix.inputs());
  matrix.unpack(rows, codes);
  return codes;
}

void expect_equal(const PackedMatrix& matrix, const PackedExample& example) {
  ASSERT_EQ(matrix.inputs(), example.inputs);
  ASSERT_EQ(matrix.outputs(), example.outputs);
  ASSERT_EQ(matrix.groups(), example.groups());
  for (std::uint32_t input = 0; input < example.inputs; ++input) {
    ASSERT_EQ(matrix.group_of(input), example.group_of[input]);
  }
  RowGroups groups;
  for (std::uint64_t row = 0; row < example.outputs; ++row) {
    const std::vector<std::uint8_t> codes = codes_of(matrix, {row});
    ASSERT_TRUE(std::ranges::equal(codes, example.codes[row])) << row;
    matrix.read_groups(row, groups);
    for (std::uint32_t group = 0; group < example.groups(); ++group) {
      ASSERT_EQ(groups.zeros[group], static_cast<float>(example.zeros[group][row])) << row;
    }
  }
}

struct Case {
  std::string name;
  ExampleOptions options;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::uint32_t bits : {2U, 3U, 4U, 8U}) {
    for (const bool act_order : {false, true}) {
      for (const bool symmetric : {false, true}) {
        for (const bool less_one : {false, true}) {
          const std::string name = format_text("Gptq{}{}{}{}", bits, act_order ? "ActOrder" : "",
                                               symmetric ? "Sym" : "", less_one ? "V1" : "V2");
          all.push_back({name,
                         {.bits = bits,
                          .symmetric = symmetric,
                          .act_order = act_order,
                          .zeros_less_one = less_one}});
        }
      }
    }
    all.push_back({format_text("Gptq{}WholeRow", bits), {.bits = bits, .group_size = 0}});
    all.push_back({format_text("Gptq{}GroupsOf48", bits), {.bits = bits, .group_size = 48}});
  }
  all.push_back({"Awq", {.method = "awq"}});
  all.push_back({"AwqWholeRow", {.method = "awq", .group_size = 0}});
  return all;
}

class EveryPacking : public ::testing::TestWithParam<Case> {};

TEST_P(EveryPacking, CodesZerosAndGroupsAreThoseThatWerePacked) {
  const PackedExample example = packed_example(64, 128, GetParam().options);
  const OneMatrix file(example);
  const auto matrix = file.open(format_of(GetParam().options));
  ASSERT_TRUE(matrix) << matrix.error().message;
  expect_equal(*matrix, example);
  EXPECT_EQ(matrix->run() == 0, GetParam().options.act_order);
  EXPECT_FALSE(matrix->zeros_mislabelled());
}

TEST_P(EveryPacking, RowsComeInAnyOrder) {
  const PackedExample example = packed_example(32, 64, GetParam().options);
  const OneMatrix file(example);
  const auto matrix = file.open(format_of(GetParam().options));
  ASSERT_TRUE(matrix) << matrix.error().message;
  const std::vector<std::uint64_t> rows{31, 0, 16, 1, 16};
  const std::vector<std::uint8_t> codes = codes_of(*matrix, rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = std::span(codes).subspan(i * 64, 64);
    EXPECT_TRUE(std::ranges::equal(row, example.codes[rows[i]])) << i;
  }
}

const std::vector<Case> kCases = cases();
INSTANTIATE_TEST_SUITE_P(All, EveryPacking, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

// AutoGPTQ's pack(), by hand: the eleventh of 32 codes of 3 bits has two of them at the end of the
// first word and one at the beginning of the second, the 22nd one and two.
TEST(PackedMatrix, ThreeBitsRunOnAcrossWords) {
  std::vector<std::uint32_t> qweight(3 * 32);
  qweight[0] = 3U << 30 | 5U;  // output 0: code 0 is 5, code 10 has its lower bits
  qweight[32] = 1U | 1U << 31;
  qweight[64] = 2U;
  SafetensorsBuilder builder;
  builder.tensor("w.qweight", "I32", {3, 32}, bytes_of(qweight));
  builder.tensor("w.qzeros", "I32", {1, 3}, bytes_of(std::vector<std::uint32_t>(3)));
  builder.tensor("w.scales", "F16", {1, 32}, std::string(64, '\0'));
  const OneMatrix file(builder.build());
  PackedFormat format;
  format.bits = 3;
  const auto matrix = file.open(format);
  ASSERT_TRUE(matrix) << matrix.error().message;
  std::vector<std::uint8_t> expected(32);
  expected[0] = 5;
  expected[10] = 7;
  expected[21] = 5;
  EXPECT_EQ(codes_of(*matrix, {0}), expected);
}

// AutoAWQ's order_map: the nibbles of a word are outputs 0 2 4 6 1 3 5 7.
TEST(PackedMatrix, AwqDealsOutputsEvenFirst) {
  SafetensorsBuilder builder;
  builder.tensor("w.qweight", "I32", {1, 1}, bytes_of(std::vector<std::uint32_t>{0x75316420}));
  builder.tensor("w.qzeros", "I32", {1, 1}, bytes_of(std::vector<std::uint32_t>{0xFDB9ECA8}));
  builder.tensor("w.scales", "F16", {1, 8}, std::string(16, '\0'));
  const OneMatrix file(builder.build());
  PackedFormat format;
  format.method = PackingMethod::kAwq;
  const auto matrix = file.open(format);
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(codes_of(*matrix, {0, 1, 2, 3, 4, 5, 6, 7}),
            (std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  RowGroups groups;
  for (std::uint64_t row = 0; row < 8; ++row) {
    matrix->read_groups(row, groups);
    EXPECT_EQ(groups.zeros[0], static_cast<float>(8 + row));
  }
}

// The zeros of one group of as many outputs as there are.
std::vector<float> zeros_of(const std::vector<std::uint32_t>& words, std::uint32_t bits,
                            StoredZeros stored, bool symmetric = false) {
  const std::uint64_t outputs = words.size() * 32 / bits;
  SafetensorsBuilder builder;
  builder.tensor("w.qweight", "I32", {bits, outputs},
                 bytes_of(std::vector<std::uint32_t>(bits * outputs)));
  builder.tensor("w.qzeros", "I32", {1, words.size()}, bytes_of(words));
  builder.tensor("w.scales", "F16", {1, outputs}, std::string(2 * outputs, '\0'));
  const OneMatrix file(builder.build());
  PackedFormat format;
  format.bits = bits;
  format.zeros = stored;
  format.symmetric = symmetric;
  const auto matrix = file.open(format);
  if (!matrix) throw std::runtime_error(matrix.error().message);
  EXPECT_EQ(matrix->zeros_mislabelled(), symmetric && matrix->least_zero() == (1U << (bits - 1)));
  RowGroups groups;
  std::vector<float> zeros;
  for (std::uint64_t row = 0; row < outputs; ++row) {
    matrix->read_groups(row, groups);
    zeros.push_back(groups.zeros[0]);
  }
  return zeros;
}

// A zero of 0 borrows from the next one when a one is subtracted from each of a word at once.
TEST(PackedMatrix, BorrowsOfZerosAreGivenBack) {
  const std::uint32_t word = 0x98765430;  // zeros 0 3 4 5 6 7 8 9
  EXPECT_EQ(zeros_of({word - 0x11111111}, 4, StoredZeros::kLessOne),
            (std::vector<float>{0, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(zeros_of({word}, 4, StoredZeros::kPlain), (std::vector<float>{0, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(zeros_of({0x00FF8001U - 0x01010101U}, 8, StoredZeros::kLessOne),
            (std::vector<float>{1, 128, 255, 0}));
}

TEST(PackedMatrix, SymmetricZerosAreKnownHoweverTheyAreStored) {
  const std::vector<float> eights(8, 8);
  EXPECT_EQ(zeros_of({0x88888888}, 4, StoredZeros::kLessOne, true), eights);
  EXPECT_EQ(zeros_of({0x77777777}, 4, StoredZeros::kPlain, true), eights);
  // GPTQModel's "gptq" of 3 bits: fours, less a one at bits 2, 5, ... of the first word, and so on.
  const std::vector<std::uint32_t> swapped{0x24924924U - 0x24924924U, 0x49249249U - 0x92492492U,
                                           0x92492492U - 0x49249249U};
  EXPECT_EQ(zeros_of(swapped, 3, StoredZeros::kLessOne, true), std::vector<float>(32, 4));
  EXPECT_EQ(zeros_of(swapped, 3, StoredZeros::kLessOneSwapped), std::vector<float>(32, 4));
}

TEST(PackedMatrix, WhatIsCalledSymmetricAndIsNotIsReadAsItIs) {
  EXPECT_EQ(zeros_of({0x77777776}, 4, StoredZeros::kLessOne, true),
            (std::vector<float>{7, 8, 8, 8, 8, 8, 8, 8}));
}

// A good matrix of 32 x 64 in groups of 32, with one part of it made anew.
Error refusal(const std::string& part, const std::string& type,
              const std::vector<std::uint64_t>& shape, const std::string& data,
              const std::function<void(PackedFormat&)>& edit = {}) {
  const PackedExample example = packed_example(32, 64, {});
  SafetensorsBuilder whole;
  add_packed(whole, "w", example);
  const std::string bytes = whole.build();
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(bytes)), "test");
  SafetensorsBuilder broken;
  for (const SafetensorsTensor& tensor : file->tensors()) {
    if (tensor.name == "w." + part) continue;
    const auto view = file->data(tensor);
    broken.tensor(tensor.name, to_string(tensor.type), tensor.shape,
                  {reinterpret_cast<const char*>(view.data()), view.size()});
  }
  if (!type.empty()) broken.tensor("w." + part, type, shape, data);
  PackedFormat format = format_of({});
  if (edit) edit(format);
  const auto matrix = OneMatrix(broken.build()).open(format);
  EXPECT_FALSE(matrix) << part;
  if (matrix) return {};
  EXPECT_EQ(matrix.error().code, ErrorCode::kCorrupt) << matrix.error().message;
  return matrix.error();
}

std::string zeros(std::size_t bytes) { return std::string(bytes, '\0'); }

TEST(PackedMatrix, AbsentPartsAreRefusedByName) {
  for (const char* part : {"qweight", "qzeros", "scales"}) {
    EXPECT_THAT(refusal(part, "", {}, "").message,
                HasSubstr("\"w\"." + std::string(part) + ": expected it beside qweight: absent"));
  }
  const auto act_order = [](PackedFormat& format) { format.act_order = true; };
  EXPECT_THAT(refusal("g_idx", "", {}, "", act_order).message, HasSubstr("act-order: absent"));
}

TEST(PackedMatrix, WrongShapesAndTypesAreRefusedWithWhatWasExpected) {
  const auto says = [](const std::string& part, const std::string& type,
                       const std::vector<std::uint64_t>& shape, std::size_t bytes) {
    return refusal(part, type, shape, zeros(bytes)).message;
  };
  EXPECT_THAT(says("qweight", "I32", {8, 31}, 8 * 31 * 4), HasSubstr("expected 8 x 32 of I32"));
  EXPECT_THAT(says("qweight", "F32", {8, 32}, 8 * 32 * 4), HasSubstr("8 x 32 of F32"));
  EXPECT_THAT(says("qweight", "I32", {8}, 32), HasSubstr("expected two dimensions: 8"));
  EXPECT_THAT(says("qweight", "I32", {0, 32}, 0), HasSubstr("expected 1 to 1048576 rows: 0"));
  EXPECT_THAT(says("qweight", "I32", {7, 32}, 7 * 32 * 4), HasSubstr("g_idx: expected 56 of I32"));
  EXPECT_THAT(says("qzeros", "I32", {2, 3}, 24), HasSubstr("expected 2 x 4 of I32"));
  EXPECT_THAT(says("qzeros", "I32", {1, 4}, 16), HasSubstr("expected 2 x 4 of I32"));
  EXPECT_THAT(says("scales", "F16", {2, 33}, 132), HasSubstr("expected a multiple of 8 outputs"));
  EXPECT_THAT(says("scales", "F16", {2, 0}, 0), HasSubstr("expected a multiple of 8 outputs"));
  EXPECT_THAT(says("scales", "I16", {2, 32}, 128), HasSubstr("expected 2 x 32 of F16"));
  EXPECT_THAT(says("scales", "F16", {3, 32}, 192), HasSubstr("expected 2 x 32 of F16"));
  EXPECT_THAT(says("g_idx", "I32", {63}, 252), HasSubstr("expected 64 of I32"));
  EXPECT_THAT(says("g_idx", "I64", {64}, 512), HasSubstr("64 of I64"));
  EXPECT_THAT(says("g_idx", "I32", {}, 4), HasSubstr("one number of I32"));
}

TEST(PackedMatrix, ThreeBitsNeedThreeRowsForEach32Codes) {
  const auto three = [](PackedFormat& format) { format.bits = 3; };
  EXPECT_THAT(refusal("qweight", "I32", {8, 32}, zeros(1024), three).message,
              HasSubstr("rows, three for 32 codes: 8"));
}

TEST(PackedMatrix, TooManyInputsAreRefusedBeforeAnythingIsTakenForThem) {
  const std::uint64_t rows = (1U << 20) / 8 + 1;
  EXPECT_THAT(refusal("qweight", "I32", {rows, 1}, zeros(rows * 4)).message,
              HasSubstr("expected at most 1048576 inputs: 1048584"));
}

TEST(PackedMatrix, GroupsThatAreNotThereAreRefused) {
  std::vector<std::uint32_t> index(64);
  index[63] = 2;
  EXPECT_THAT(refusal("g_idx", "I32", {64}, bytes_of(index)).message,
              HasSubstr("expected groups 0 to 1: 2 at 63"));
  index[63] = 0xFFFFFFFF;
  EXPECT_THAT(refusal("g_idx", "I32", {64}, bytes_of(index)).message,
              HasSubstr("expected groups 0 to 1: -1 at 63"));
}

TEST(PackedMatrix, ScalesThatAreNoNumbersAreRefused) {
  std::vector<float> scales(64, 1);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    scales[63] = bad;
    EXPECT_THAT(refusal("scales", "F32", {2, 32}, bytes_of(scales)).message,
                HasSubstr("expected finite scales"));
  }
}

}  // namespace
}  // namespace gogrid

// What packed matrices become, and that the error which is told of them is true.
#include "model/packed_conversion.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "support/packed_weights.h"

namespace gogrid {
namespace {

using testing::ExampleOptions;
using ::testing::HasSubstr;
using testing::packed_example;
using testing::PackedExample;
using testing::SafetensorsBuilder;

// A matrix in memory. The views of the file and the matrix are of `bytes`, which stays put.
class Opened {
 public:
  Opened(const PackedExample& example, const ExampleOptions& options)
      : bytes_(built(example)),
        file_(SafetensorsFile::parse(std::as_bytes(std::span(bytes_)), "test").value()),
        matrix_(opened(example, options)) {}
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  const PackedMatrix& matrix() const { return matrix_; }

 private:
  static std::string built(const PackedExample& example) {
    SafetensorsBuilder builder;
    add_packed(builder, "w", example);
    return builder.build();
  }
  PackedMatrix opened(const PackedExample& example, const ExampleOptions& options) const {
    PackedFormat format;
    format.method = options.method == "awq" ? PackingMethod::kAwq : PackingMethod::kGptq;
    format.bits = options.bits;
    format.group_size = options.group_size;
    format.zeros = example.zeros_less_one ? StoredZeros::kLessOne : StoredZeros::kPlain;
    const auto view = [&](const char* part) {
      const SafetensorsTensor* tensor = file_.tensor(std::string("w.") + part);
      return tensor == nullptr ? TensorView{} : TensorView{tensor, file_.data(*tensor)};
    };
    return PackedMatrix::open(format, "w",
                              {view("qweight"), view("qzeros"), view("scales"), view("g_idx")})
        .value();
  }

  const std::string bytes_;
  const SafetensorsFile file_;
  const PackedMatrix matrix_;
};

struct Packed {
  std::vector<float> weights;  // read back
  double error = 0;
};

Packed pack(const PackedMatrix& matrix, std::uint32_t type) {
  RowPacker packer(matrix, type);
  std::vector<std::uint64_t> rows(matrix.outputs());
  std::iota(rows.begin(), rows.end(), 0U);
  std::vector<std::byte> out(rows.size() * packer.row_bytes());
  const auto error = packer.pack(rows, out);
  if (!error) throw std::runtime_error(error.error().message);
  Packed packed{std::vector<float>(rows.size() * matrix.inputs()), error->relative()};
  if (type == GGML_TYPE_F32) {
    std::memcpy(packed.weights.data(), out.data(), out.size());
  } else {
    ggml_get_type_traits(static_cast<ggml_type>(type))
        ->to_float(out.data(), packed.weights.data(),
                   static_cast<std::int64_t>(packed.weights.size()));
  }
  return packed;
}

double relative_error(const std::vector<float>& came, const std::vector<float>& expected) {
  double error = 0;
  double all = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(double{came[i]} - double{expected[i]}, 2);
    all += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / all);
}

struct Case {
  std::string name;
  ExampleOptions options;
  std::uint32_t inputs;
  ggml_type type;
  double most;  // of the error; 0: none at all
};

// Errors of normally distributed weights, with some room; those of q4_1 are what rounding to 16
// bits does to the minimum.
const std::vector<Case> kCases{
    {"FourSymmetric", {.bits = 4, .symmetric = true}, 256, GGML_TYPE_Q4_0, 0},
    {"Four", {.bits = 4}, 256, GGML_TYPE_Q4_1, 6e-4},
    {"FourGroupsOf128", {.bits = 4, .group_size = 128}, 256, GGML_TYPE_Q4_1, 6e-4},
    {"FourWholeRow", {.bits = 4, .group_size = 0}, 96, GGML_TYPE_Q4_1, 6e-4},
    {"FourV2", {.bits = 4, .zeros_less_one = false}, 256, GGML_TYPE_Q4_1, 6e-4},
    {"Awq", {.method = "awq"}, 256, GGML_TYPE_Q4_1, 6e-4},
    {"Two", {.bits = 2}, 256, GGML_TYPE_Q4_0, 0},
    {"Three", {.bits = 3}, 256, GGML_TYPE_Q4_0, 0},
    {"EightSymmetric", {.bits = 8, .symmetric = true}, 256, GGML_TYPE_Q8_0, 0},
    {"Eight", {.bits = 8}, 256, GGML_TYPE_Q8_0, 0.006},
    {"TwoActOrder", {.bits = 2, .act_order = true}, 256, GGML_TYPE_Q4_K, 0.08},
    {"ThreeActOrder", {.bits = 3, .act_order = true}, 256, GGML_TYPE_Q5_K, 0.05},
    {"FourActOrder", {.bits = 4, .act_order = true}, 256, GGML_TYPE_Q6_K, 0.025},
    {"EightActOrder", {.bits = 8, .act_order = true}, 256, GGML_TYPE_Q8_0, 0.007},
    {"TwoActOrderNarrow", {.bits = 2, .act_order = true}, 96, GGML_TYPE_Q4_0, 0.09},
    {"ThreeActOrderNarrow", {.bits = 3, .act_order = true}, 96, GGML_TYPE_Q5_0, 0.05},
    {"FourActOrderNarrow", {.bits = 4, .act_order = true}, 96, GGML_TYPE_Q8_0, 0.007},
    {"FourShortGroups", {.bits = 4, .group_size = 16}, 256, GGML_TYPE_Q6_K, 0.025},
    {"FourGroupsAcrossBlocks", {.bits = 4, .group_size = 48}, 96, GGML_TYPE_Q8_0, 0.007},
    {"FourOddRows", {.bits = 4, .group_size = 16}, 48, GGML_TYPE_F16, 6e-4},
    {"ActOrderOfOneGroup",
     {.bits = 4, .group_size = 0, .act_order = true},
     64,
     GGML_TYPE_Q4_1,
     6e-4}};

class NaturalType : public ::testing::TestWithParam<Case> {};

TEST_P(NaturalType, LosesNoMoreThanItSays) {
  const PackedExample example = packed_example(64, GetParam().inputs, GetParam().options);
  const Opened opened(example, GetParam().options);
  const std::uint32_t type = natural_type(opened.matrix());
  EXPECT_EQ(type, GetParam().type) << ggml_type_name(static_cast<ggml_type>(type));
  const Packed packed = pack(opened.matrix(), type);
  const double measured = relative_error(packed.weights, example.weights());
  EXPECT_NEAR(packed.error, measured, 1e-9);
  EXPECT_LE(measured, GetParam().most);
  EXPECT_EQ(measured == 0, GetParam().most == 0);
}

TEST_P(NaturalType, FloatsAreExactlyWhatWasPacked) {
  const PackedExample example = packed_example(64, GetParam().inputs, GetParam().options);
  const Opened opened(example, GetParam().options);
  const Packed packed = pack(opened.matrix(), GGML_TYPE_F32);
  EXPECT_EQ(packed.weights, example.weights());
  EXPECT_EQ(packed.error, 0);
}

INSTANTIATE_TEST_SUITE_P(All, NaturalType, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

// The rounding of -scale * zero is the only one: half of a step of 16 bits at most.
TEST(RowPacker, TheMinimumIsRoundedToTheNearest) {
  const ExampleOptions options{.bits = 4};
  const PackedExample example = packed_example(64, 256, options);
  const Opened opened(example, options);
  const Packed packed = pack(opened.matrix(), GGML_TYPE_Q4_1);
  const std::vector<float> weights = example.weights();
  for (std::uint32_t output = 0; output < 64; ++output) {
    for (std::uint32_t input = 0; input < 256; ++input) {
      const std::uint32_t group = example.group_of[input];
      const float minimum = ggml_fp16_to_fp32(example.scales[group][output]) *
                            static_cast<float>(example.zeros[group][output]);
      const std::size_t at = output * 256 + input;
      ASSERT_LE(std::fabs(packed.weights[at] - weights[at]), minimum * 0x1p-11F) << at;
    }
  }
}

TEST(RowPacker, AnyTypeThatIsAskedForIsMeasuredToo) {
  const ExampleOptions options{.bits = 4};
  const PackedExample example = packed_example(64, 256, options);
  const Opened opened(example, options);
  for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q6_K,
                               GGML_TYPE_Q5_K, GGML_TYPE_Q5_1, GGML_TYPE_Q5_0, GGML_TYPE_Q4_K,
                               GGML_TYPE_Q4_0, GGML_TYPE_Q3_K, GGML_TYPE_Q2_K}) {
    const Packed packed = pack(opened.matrix(), type);
    EXPECT_NEAR(packed.error, relative_error(packed.weights, example.weights()), 1e-9);
    EXPECT_GT(packed.error, 0) << ggml_type_name(type);
    EXPECT_LT(packed.error, 0.4) << ggml_type_name(type);
  }
}

TEST(RowPacker, ScalesBeyondATypesRangeAreRefusedWithTheWayOut) {
  const ExampleOptions options{.bits = 4};
  PackedExample example = packed_example(32, 64, options);
  example.scales[1][31] = ggml_fp32_to_fp16(60000);
  const Opened opened(example, options);
  for (const ggml_type type : {GGML_TYPE_Q4_1, GGML_TYPE_F16}) {
    RowPacker packer(opened.matrix(), type);
    std::vector<std::byte> out(packer.row_bytes());
    const std::vector<std::uint64_t> good{30};
    EXPECT_TRUE(packer.pack(good, out));
    const std::vector<std::uint64_t> bad{31};
    const auto error = packer.pack(bad, out);
    ASSERT_FALSE(error);
    EXPECT_EQ(error.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.error().message, HasSubstr("import with --type bf16"));
  }
  EXPECT_LT(pack(opened.matrix(), GGML_TYPE_BF16).error, 0.01);
}

TEST(SquaredError, IsRelativeToTheWeights) {
  EXPECT_EQ((SquaredError{0, 0}.relative()), 0);
  EXPECT_EQ((SquaredError{1, 0}.relative()), 1);
  EXPECT_EQ((SquaredError{1, 4}.relative()), 0.5);
}

}  // namespace
}  // namespace gogrid

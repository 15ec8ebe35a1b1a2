#include "model/importance_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/files.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

std::string floats(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) bytes += GgufBuilder::number(value);
  return bytes;
}

GgufBuilder with_keys() {
  GgufBuilder file;
  file.key_text("general.type", "imatrix")
      .key("imatrix.datasets", GgufBuilder::kArray, GgufBuilder::strings({"wiki.txt"}))
      .key_u32("imatrix.chunk_count", 3)
      .key_u32("imatrix.chunk_size", 512);
  return file;
}

class ImportanceMatrixTest : public ::testing::Test {
 protected:
  Result<ImportanceMatrix> read(const std::string& bytes) {
    EXPECT_TRUE(write_file(folder_ / "m.gguf", bytes));
    return read_importance_matrix(folder_ / "m.gguf");
  }
  Result<ImportanceMatrix> read(std::vector<float> sums, std::vector<float> counts) {
    GgufBuilder file = with_keys();
    file.tensor({"a.weight.in_sum2", {sums.size()}, GgufBuilder::kTensorF32, floats(sums), {}, {}});
    file.tensor(
        {"a.weight.counts", {counts.size()}, GgufBuilder::kTensorF32, floats(counts), {}, {}});
    return read(file.build());
  }

  TemporaryFolder folder_;
};

TEST_F(ImportanceMatrixTest, HasAMeanOfSquaresForEachColumnOfEachExpert) {
  const auto matrix = read({2, 4, 8, 9, 9, 9}, {2, 0});
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->chunks, 3U);
  EXPECT_EQ(matrix->chunk_tokens, 512U);
  EXPECT_THAT(matrix->datasets, ElementsAre("wiki.txt"));
  const ImportanceEntry& entry = matrix->entries.at("a.weight");
  EXPECT_EQ(entry.columns(), 3U);
  EXPECT_THAT(entry.means(), ElementsAre(1, 2, 4, 1, 1, 1)) << "an expert that saw nothing";
}

TEST_F(ImportanceMatrixTest, BelievesNoNumber) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const float odd : {kNaN, kInfinite, -1.0F}) {
    for (const auto& matrix : {read({1, odd}, {1}), read({1, 1}, {odd})}) {
      ASSERT_FALSE(matrix) << odd;
      EXPECT_EQ(matrix.error().code, ErrorCode::kCorrupt);
      EXPECT_THAT(matrix.error().message, HasSubstr("m.gguf"));
    }
  }
  EXPECT_FALSE(read({1, 1}, {0.5F})) << "half a row";
  EXPECT_FALSE(read({1, 1, 1}, {1, 1})) << "sums that are not the same for each expert";
}

TEST_F(ImportanceMatrixTest, RefusesWhatIsNone) {
  EXPECT_THAT(read(with_keys().floats("x.weight", {4}).build()).error().message,
              HasSubstr("sums of some weight"));
  EXPECT_THAT(read(with_keys().floats("x.in_sum2", {4}).build()).error().message,
              HasSubstr("counts beside"));
  GgufBuilder model;
  model.key_text("general.architecture", "llama")
      .floats("x.in_sum2", {4})
      .floats("x.counts", {1}, 1);
  EXPECT_THAT(read(model.build()).error().message, HasSubstr("imatrix.chunk_count"));
  GgufBuilder half = with_keys();
  half.tensor({"x.in_sum2", {2}, GgufBuilder::kTensorF16, std::string(4, '\0'), {}, {}});
  half.floats("x.counts", {1}, 1);
  EXPECT_THAT(read(half.build()).error().message, HasSubstr("expected f32"));
}

TEST_F(ImportanceMatrixTest, NamesTheOlderFormat) {
  const auto matrix = read(std::string("\2\0\0\0\20\0\0\0", 8));
  ASSERT_FALSE(matrix);
  EXPECT_EQ(matrix.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(matrix.error().message, HasSubstr("--output-format gguf"));
}

}  // namespace
}  // namespace gogrid

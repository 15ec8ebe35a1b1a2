#include "stage/token_rows.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "model/gguf_file.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

class TokenRowsOf : public ::testing::TestWithParam<TinyWeights> {};

TEST_P(TokenRowsOf, AreTheTensorsRows) {
  const TemporaryFolder folder;
  TinyModel model;
  model.n_embd = 256;
  model.weights = GetParam();
  testing::write_tiny_model(folder / "tiny.gguf", model);
  const auto rows = TokenRows::open(folder / "tiny.gguf", model.n_embd, 1.0F);
  ASSERT_TRUE(rows) << rows.error().message;
  const std::uint32_t n_vocab = testing::tiny_vocabulary_size(model);
  ASSERT_EQ(rows->n_vocab(), n_vocab);

  const auto file = GgufFile::open(folder / "tiny.gguf");
  ASSERT_TRUE(file);
  const GgufTensor& tensor = *file->tensor("token_embd.weight");
  const auto data = file->data(tensor);
  std::vector<float> whole(std::size_t{n_vocab} * model.n_embd);
  const auto type = static_cast<ggml_type>(tensor.type);
  if (type == GGML_TYPE_F32) {
    std::memcpy(whole.data(), data.data(), data.size());
  } else {
    ggml_get_type_traits(type)->to_float(data.data(), whole.data(),
                                         static_cast<std::int64_t>(whole.size()));
  }
  std::vector<float> row(model.n_embd);
  for (const std::uint32_t token : {0U, 1U, 100U, n_vocab - 1}) {
    rows->read(static_cast<Token>(token), row);
    const auto* expected = whole.data() + std::size_t{token} * model.n_embd;
    EXPECT_EQ(row, std::vector<float>(expected, expected + model.n_embd)) << token;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TokenRowsOf,
                         ::testing::Values(TinyWeights::kF32, TinyWeights::kF16, TinyWeights::kQ8_0,
                                           TinyWeights::kQ4_0, TinyWeights::kQ4_1,
                                           TinyWeights::kQ4_K));

TEST(TokenRows, AreScaled) {
  const TemporaryFolder folder;
  testing::write_tiny_model(folder / "tiny.gguf");
  const auto plain = TokenRows::open(folder / "tiny.gguf", 128, 1.0F);
  const auto scaled = TokenRows::open(folder / "tiny.gguf", 128, 11.3F);
  ASSERT_TRUE(plain && scaled);
  std::vector<float> one(128);
  std::vector<float> other(128);
  plain->read(5, one);
  scaled->read(5, other);
  for (std::size_t i = 0; i < one.size(); ++i) ASSERT_EQ(other[i], one[i] * 11.3F);
}

TEST(TokenRows, RefuseAnotherWidth) {
  const TemporaryFolder folder;
  testing::write_tiny_model(folder / "tiny.gguf");
  const auto rows = TokenRows::open(folder / "tiny.gguf", 256, 1.0F);
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(rows.error().message, HasSubstr("256 columns: 128"));
}

TEST(TokenRows, RefuseAFileThatIsNotThere) {
  EXPECT_EQ(TokenRows::open("/nonexistent.gguf", 128, 1.0F).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace gogrid

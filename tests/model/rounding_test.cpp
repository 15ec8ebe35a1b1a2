#include "model/rounding.h"

#include <fcntl.h>
#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file_descriptor.h"
#include "base/files.h"
#include "device/device_registry.h"
#include "support/quantized.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

constexpr std::uint64_t kAll = UINT64_MAX;

class Rounding : public ::testing::Test {
 protected:
  Rounding() { initialize_backends(); }
  GgufFile model(TinyModel tiny = {}) {
    tiny.n_embd = 256;
    tiny.n_ff = 512;
    if (tiny.weights == TinyWeights::kF32) tiny.weights = TinyWeights::kF16;
    testing::write_tiny_model(folder_ / "model.gguf", tiny);
    return GgufFile::open(folder_ / "model.gguf").value();
  }
  static WeightType type(std::string_view name) { return find_weight_type(name).value(); }
  std::string written(const GgufFile& file, const GgufTensor& tensor, const WeightType* through,
                      ColumnImportance importance, std::string_view stored) {
    const auto path = folder_ / "data";
    const FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
    const std::uint32_t number = type(stored).type;
    const Status done =
        through == nullptr ? write_weights(file, tensor, number, fd.get(), 0)
                           : write_rounded(file, tensor, *through, importance, number, fd.get(), 0);
    EXPECT_TRUE(done) << done.error().message;
    return read_file(path, 64 * kMiB).value();
  }
  // What libllama makes of the whole model.
  GgufFile quantized(const GgufFile& file, std::string_view mix) {
    QuantizeOptions options{.mix = find_mix(mix).value()};
    options.pure = true;
    const auto plan = plan_quantization(file, options).value();
    EXPECT_TRUE(testing::write_quantized(file, folder_ / "made.gguf", options, plan));
    return GgufFile::open(folder_ / "made.gguf").value();
  }

  const TemporaryFolder folder_;
};

TEST_F(Rounding, ToATypeStoredInItIsWhatLibllamaWrites) {
  const GgufFile file = model();
  for (const char* mix : {"q8_0", "q4_0", "q4_k_s", "iq4_nl"}) {
    const GgufFile made = quantized(file, mix);
    const GgufTensor& after = *made.tensor("blk.1.ffn_up.weight");
    const auto bytes = made.data(after);
    EXPECT_EQ(written(file, *file.tensor(after.name), nullptr, {}, after.type_name),
              std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()))
        << mix;
  }
}

TEST_F(Rounding, GivesTheNumbersOfTheTypeInAnother) {
  const GgufFile file = model();
  const WeightType four = type("q4_0");
  const GgufTensor& tensor = *file.tensor("blk.0.attn_q.weight");
  const std::string floats = written(file, tensor, &four, {}, "f32");
  const std::string packed = written(file, tensor, nullptr, {}, "q4_0");
  std::vector<float> expected(tensor.shape[0] * tensor.shape[1]);
  ggml_get_type_traits(GGML_TYPE_Q4_0)
      ->to_float(packed.data(), expected.data(), static_cast<std::int64_t>(expected.size()));
  ASSERT_EQ(floats.size(), expected.size() * sizeof(float));
  EXPECT_TRUE(
      std::equal(expected.begin(), expected.end(), reinterpret_cast<const float*>(floats.data())));
}

TEST_F(Rounding, ItsErrorIsTheShareOfTheSquareThatIsLost) {
  const GgufFile file = model();
  const GgufTensor& tensor = *file.tensor("blk.0.attn_q.weight");
  const WeightType four = type("q4_0");
  const std::string before = written(file, tensor, nullptr, {}, "f32");
  const std::string after = written(file, tensor, &four, {}, "f32");
  const auto* w = reinterpret_cast<const float*>(before.data());
  const auto* q = reinterpret_cast<const float*>(after.data());
  double lost = 0;
  double all = 0;
  for (std::size_t i = 0; i < before.size() / sizeof(float); ++i) {
    lost += std::pow(static_cast<double>(w[i]) - static_cast<double>(q[i]), 2);
    all += std::pow(static_cast<double>(w[i]), 2);
  }
  EXPECT_NEAR(rounding_error(file, tensor, four, {}, kAll), lost / all, 1e-12);
  EXPECT_NEAR(rounding_error(file, tensor, four, {}, 1), lost / all, 0.2 * lost / all)
      << "of 32 rows";
}

TEST_F(Rounding, LosesLessInMoreBits) {
  const GgufFile file = model();
  const GgufTensor& tensor = *file.tensor("blk.0.ffn_down.weight");
  double before = 1;
  for (const char* name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q8_0"}) {
    const double error = rounding_error(file, tensor, type(name), {}, kAll);
    EXPECT_LT(error, before) << name;
    EXPECT_GT(error, 0) << name;
    before = error;
  }
}

TEST_F(Rounding, SparesTheColumnsThatMatter) {
  const GgufFile file = model();
  const GgufTensor& tensor = *file.tensor("blk.0.ffn_up.weight");
  std::vector<float> importance(tensor.shape[0], 0.001F);
  std::fill_n(importance.begin() + 32, 8, 1.0F);
  const WeightType type = this->type("q2_k");
  const auto lost_in = [&](const std::string& before, const std::string& after) {
    double lost = 0;
    for (std::size_t row = 0; row < tensor.shape[1]; ++row) {
      for (std::size_t c = 32; c < 40; ++c) {
        const std::size_t at = row * tensor.shape[0] + c;
        lost += std::pow(reinterpret_cast<const float*>(before.data())[at] -
                             reinterpret_cast<const float*>(after.data())[at],
                         2);
      }
    }
    return lost;
  };
  const std::string before = written(file, tensor, nullptr, {}, "f32");
  EXPECT_LT(lost_in(before, written(file, tensor, &type, importance, "f32")),
            0.7 * lost_in(before, written(file, tensor, &type, {}, "f32")));
}

TEST_F(Rounding, GivesEachExpertItsOwnImportance) {
  const GgufFile file = model({.n_experts = 4});
  const GgufTensor& tensor = *file.tensor("blk.0.ffn_up_exps.weight");
  ASSERT_EQ(tensor.shape[2], 4U);
  std::vector<float> importance(tensor.shape[0] * 4, 1.0F);
  const WeightType type = this->type("q2_k");
  const std::string even = written(file, tensor, &type, importance, "f16");
  std::fill_n(importance.begin() + 256, 64, 1e6F);  // of the second
  const std::string uneven = written(file, tensor, &type, importance, "f16");
  const std::size_t expert = even.size() / 4;
  EXPECT_EQ(even.substr(0, expert), uneven.substr(0, expert));
  EXPECT_NE(even.substr(expert, expert), uneven.substr(expert, expert));
  EXPECT_EQ(even.substr(2 * expert), uneven.substr(2 * expert));
}

TEST_F(Rounding, SaysWhereItCannotWrite) {
  const GgufFile file = model();
  const Status done =
      write_weights(file, *file.tensor("blk.0.attn_q.weight"), GGML_TYPE_F16, -1, 0);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace gogrid

#include "engine/sensitivity_measurement.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file_descriptor.h"
#include "base/files.h"
#include "device/device_registry.h"
#include "model/rounding.h"
#include "stage/llama_stage.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr std::uint32_t kContext = 32;

class Sensitivity : public ::testing::Test {
 protected:
  Sensitivity() {
    for (int i = 0; i < 100; ++i) tokens_.push_back((i * 37 + 11) % 256);
    ledger_.set_cap("cpu0", kGiB);
    testing::write_tiny_model(source_, {.n_embd = 256, .n_ff = 512});
    testing::write_tiny_model(trial_, {.n_embd = 256, .n_ff = 512});
  }
  SensitivityQuestion question() {
    return {.model = {"tiny", trial_, read_profile(GgufFile::open(trial_).value()).value()},
            .tokens = tokens_,
            .begin_token = {},
            .context = kContext,
            .max_chunks = 2,
            .device = registry_.find("cpu0").value()};
  }
  // Rounds the tensor of that number to `type`.
  Status change(const std::string& name, const WeightType& type, GroupState state) {
    const GgufFile source = GgufFile::open(source_).value();
    const GgufTensor& tensor = *source.tensor(name);
    const FileDescriptor fd(::open(trial_.c_str(), O_RDWR));
    return state == GroupState::kBack
               ? write_weights(source, tensor, tensor.type, fd.get(), tensor.offset)
               : write_rounded(source, tensor, type, {}, tensor.type, fd.get(), tensor.offset);
  }
  Result<std::vector<double>> measure(
      const std::vector<std::pair<std::string, std::string>>& groups,
      const SensitivityQuestion& asked) {
    return measure_sensitivities(
        asked, groups.size(),
        [&](std::size_t group, GroupState state) {
          const auto& [name, type] = groups[group];
          return change(name, find_weight_type(type).value(), state);
        },
        *factory_, ledger_,
        [this](std::uint32_t done, std::uint32_t) {
          told_.push_back(done);
          return done < stop_at_;
        },
        {});
  }

  const TemporaryFolder folder_;
  const std::filesystem::path source_ = folder_ / "source.gguf";
  const std::filesystem::path trial_ = folder_ / "trial.gguf";
  const SteadyClock clock_;
  const DeviceRegistry registry_ = DeviceRegistry::detect({}, clock_).value();
  const std::unique_ptr<StageFactory> factory_ = make_llama_stage_factory();
  MemoryLedger ledger_;
  std::vector<Token> tokens_;
  std::vector<std::uint32_t> told_;
  std::uint32_t stop_at_ = 1000;
};

TEST_F(Sensitivity, IsNothingWhereNothingIsRoundedAndGrowsWithTheRounding) {
  const std::string before = read_file(trial_, 64 * kMiB).value();
  const auto found = measure({{"blk.1.attn_v.weight", "f32"},
                              {"blk.1.attn_v.weight", "q8_0"},
                              {"blk.1.attn_v.weight", "q4_0"},
                              {"blk.1.attn_v.weight", "q2_k"}},
                             question());
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_THAT(told_, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ((*found)[0], 0);
  EXPECT_GT((*found)[1], 0);
  EXPECT_GT((*found)[2], 10 * (*found)[1]);
  EXPECT_GT((*found)[3], 3 * (*found)[2]);
  EXPECT_EQ(read_file(trial_, 64 * kMiB).value(), before) << "put back";
}

// What one trial did is no part of the next one's.
TEST_F(Sensitivity, OfAGroupDoesNotDependOnThoseBeforeIt) {
  const std::pair<std::string, std::string> first{"blk.0.ffn_down.weight", "q2_k"};
  const std::pair<std::string, std::string> second{"output.weight", "q4_0"};
  const auto both = measure({first, second}, question());
  const auto alone = measure({second}, question());
  ASSERT_TRUE(both && alone);
  EXPECT_EQ((*both)[1], alone->front());
  EXPECT_GT(both->front(), 0);
}

TEST_F(Sensitivity, AsksForALongerTextThanOneChunk) {
  SensitivityQuestion asked = question();
  asked.tokens = std::span(tokens_).first(kContext);
  const auto refused = measure({}, asked);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(logits_kept(question()),
            2 * (kContext / 2) * question().model.profile.n_vocab * sizeof(float));
}

TEST_F(Sensitivity, StopsBetweenTwoTrialsAndGivesAllMemoryBack) {
  stop_at_ = 1;
  const auto stopped = measure({{"output.weight", "q4_0"}, {"output.weight", "q4_0"}}, question());
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_THAT(told_, ElementsAre(0, 1));
  EXPECT_EQ(ledger_.list().front().held, 0U);
}

TEST_F(Sensitivity, StaysWithinTheMemoryItMayUse) {
  ledger_.set_cap("cpu0", kMiB);
  const auto refused = measure({{"output.weight", "q4_0"}}, question());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(is_for_memory(refused.error().code)) << refused.error().message;
}

TEST_F(Sensitivity, HandsOnWhatWentWrongWithTheFile) {
  const auto failed = measure_sensitivities(
      question(), 1,
      [](std::size_t, GroupState) -> Status { return fail(ErrorCode::kIo, "the disk is full"); },
      *factory_, ledger_, [](std::uint32_t, std::uint32_t) { return true; }, {});
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("the disk is full"));
}

}  // namespace
}  // namespace gogrid

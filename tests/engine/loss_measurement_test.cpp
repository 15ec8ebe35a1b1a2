#include "engine/loss_measurement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/device_registry.h"
#include "model/gguf_file.h"
#include "stage/llama_stage.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

constexpr std::uint32_t kContext = 32;

class LossMeasurement : public ::testing::Test {
 protected:
  LossMeasurement() {
    for (int i = 0; i < 100; ++i) tokens_.push_back((i * 37 + 11) % 256);
    ledger_.set_cap("cpu0", kGiB);
  }
  LossSide side(const std::string& name, TinyModel model) {
    const auto path = folder_ / (name + ".gguf");
    testing::write_tiny_model(path, model);
    return {name, path, read_profile(GgufFile::open(path).value()).value()};
  }
  LossQuestion question(const TinyModel& base, const TinyModel& other) {
    LossQuestion made{.base = side("base", base),
                      .other = side("other", other),
                      .tokens = tokens_,
                      .begin_token = {},
                      .context = kContext,
                      .max_chunks = 0,
                      .device = registry_.find("cpu0").value()};
    return made;
  }
  Result<ModelLoss> measure(const LossQuestion& asked) {
    return measure_loss(asked, *factory_, ledger_,
                        [this](std::uint32_t done, std::uint32_t) {
                          chunks_.push_back(done);
                          for (const DeviceMemory& memory : ledger_.list()) held_ = memory.held;
                          return done < stop_at_;
                        },
                        {});
  }

  const TemporaryFolder folder_;
  const SteadyClock clock_;
  const DeviceRegistry registry_ = DeviceRegistry::detect({}, clock_).value();
  const std::unique_ptr<StageFactory> factory_ = make_llama_stage_factory();
  MemoryLedger ledger_;
  std::vector<Token> tokens_;
  std::vector<std::uint32_t> chunks_;
  std::uint32_t stop_at_ = 1000;
  Bytes held_ = 0;
};

TEST_F(LossMeasurement, OfAModelAgainstItselfIsNothing) {
  const auto loss = measure(question({}, {}));
  ASSERT_TRUE(loss) << loss.error().message;
  EXPECT_THAT(chunks_, ElementsAre(0, 1, 2));
  EXPECT_EQ(loss->positions, 3U * (kContext / 2 - 1));
  EXPECT_EQ(loss->context, kContext);
  EXPECT_EQ(loss->base, "base");
  EXPECT_DOUBLE_EQ(loss->mean_kl, 0);
  EXPECT_DOUBLE_EQ(loss->same_top, 1);
  EXPECT_DOUBLE_EQ(loss->perplexity, loss->base_perplexity);
  EXPECT_GT(loss->perplexity, 1);
}

TEST_F(LossMeasurement, GrowsAsWeightsGetCoarser) {
  const auto eight = measure(question({}, {.weights = TinyWeights::kQ8_0}));
  const auto four = measure(question({}, {.weights = TinyWeights::kQ4_0}));
  ASSERT_TRUE(eight && four);
  EXPECT_GT(eight->mean_kl, 0);
  EXPECT_GT(four->mean_kl, 4 * eight->mean_kl);
  EXPECT_GE(eight->p99_kl, eight->mean_kl);
}

TEST_F(LossMeasurement, PutsTheBeginTokenBeforeEachChunkAndSeesNoChunkBefore) {
  LossQuestion asked = question({}, {});
  asked.begin_token = 7;
  const auto with = measure(asked);
  ASSERT_TRUE(with);
  for (std::size_t i = 0; i < tokens_.size(); i += kContext) tokens_[i] = 7;
  asked.begin_token.reset();
  asked.tokens = tokens_;
  EXPECT_EQ(measure(asked)->perplexity, with->perplexity);
  // Another first chunk leaves the perplexity of the others as it was: three chunks and the first
  // say what the two behind it do.
  LossQuestion first = asked;
  first.max_chunks = 1;
  LossQuestion rest = asked;
  rest.tokens = std::span(tokens_).subspan(kContext);
  const double whole = std::log(measure(asked)->perplexity) * 3;
  const double parts =
      std::log(measure(first)->perplexity) + 2 * std::log(measure(rest)->perplexity);
  EXPECT_NEAR(whole, parts, 1e-6);
}

TEST_F(LossMeasurement, LeasesAllItTakesAndGivesItBack) {
  const LossQuestion asked = question({}, {});
  ASSERT_TRUE(measure(asked));
  EXPECT_GT(held_, 2 * asked.base.profile.file_bytes / 2);
  EXPECT_EQ(ledger_.list().front().held, 0U);
  ledger_.set_cap("cpu0", held_ - 1);
  const auto refused = measure(asked);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(is_for_memory(refused.error().code)) << refused.error().message;
  EXPECT_EQ(ledger_.list().front().held, 0U);
}

TEST_F(LossMeasurement, StopsBetweenTwoChunks) {
  stop_at_ = 1;
  const auto stopped = measure(question({}, {}));
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_THAT(chunks_, ElementsAre(0, 1));
}

TEST_F(LossMeasurement, RefusesAnotherVocabularyAndTooShortATextByName) {
  const auto other = measure(question({}, {.vocabulary = testing::TinyVocabulary::kSpm}));
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("one vocabulary"));
  LossQuestion asked = question({}, {});
  asked.tokens = asked.tokens.first(2 * kContext - 1);
  EXPECT_THAT(measure(asked).error().message, HasSubstr("at least 64 tokens"));
}

}  // namespace
}  // namespace gogrid

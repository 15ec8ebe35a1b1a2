#include "engine/importance_measurement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "device/device_registry.h"
#include "model/gguf_file.h"
#include "stage/llama_stage.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;
using testing::TemporaryFolder;
using testing::TinyModel;

constexpr std::uint32_t kContext = 48;
constexpr std::uint32_t kChunks = 3;

class ImportanceMeasurement : public ::testing::Test {
 protected:
  ImportanceMeasurement() {
    for (std::uint32_t i = 0; i < kContext * kChunks; ++i)
      tokens_.push_back(static_cast<Token>((i * 37 + 11) % 256));
    ledger_.set_cap("cpu0", kGiB);
  }
  ImportanceQuestion question(const TinyModel& model) {
    const auto path = folder_ / "model.gguf";
    testing::write_tiny_model(path, model);
    ImportanceQuestion asked;
    asked.model = {"tiny", path, read_profile(GgufFile::open(path).value()).value()};
    asked.tokens = tokens_;
    asked.context = kContext;
    asked.device = registry_.find("cpu0").value();
    return asked;
  }
  Status measure(const ImportanceQuestion& asked, ImportanceCollector& collector) {
    return measure_importance(asked, *factory_, ledger_, collector,
                              [this](std::uint32_t done, std::uint32_t) { return done < stop_at_; },
                              {});
  }

  const TemporaryFolder folder_;
  const SteadyClock clock_;
  const DeviceRegistry registry_ = DeviceRegistry::detect({}, clock_).value();
  const std::unique_ptr<StageFactory> factory_ = make_llama_stage_factory();
  MemoryLedger ledger_;
  std::vector<Token> tokens_;
  std::uint32_t stop_at_ = 1000;
};

TEST_F(ImportanceMeasurement, SeesEveryTokenOnceInEveryWeightOfALayerAndNothingElse) {
  ImportanceCollector collector;
  const auto done = measure(question({}), collector);
  ASSERT_TRUE(done) << done.error().message;
  const auto entries = collector.entries();
  EXPECT_EQ(entries.size(), 4U * 7);
  for (const auto& [name, entry] : entries) {
    EXPECT_THAT(entry.counts, ElementsAre(kContext * kChunks)) << name;
    EXPECT_GT(std::accumulate(entry.sums.begin(), entry.sums.end(), 0.0), 0) << name;
  }
  // Queries, keys and values are made of the same rows.
  EXPECT_EQ(entries.at("blk.1.attn_q.weight").sums, entries.at("blk.1.attn_v.weight").sums);
  EXPECT_NE(entries.at("blk.1.attn_q.weight").sums, entries.at("blk.2.attn_q.weight").sums);
  EXPECT_EQ(ledger_.list().front().held, 0U);
}

TEST_F(ImportanceMeasurement, CountsEachExpertByItself) {
  ImportanceCollector collector;
  ASSERT_TRUE(measure(question({.architecture = "qwen3moe"}), collector));
  const auto entries = collector.entries();
  const ImportanceEntry& entry = entries.at("blk.0.ffn_down_exps.weight");
  EXPECT_EQ(entry.counts.size(), 4U);
  EXPECT_EQ(std::accumulate(entry.counts.begin(), entry.counts.end(), 0.0F),
            2.0F * kContext * kChunks)
      << "two experts a token";
  EXPECT_EQ(entry.columns(), 256U);
}

TEST_F(ImportanceMeasurement, GoesOnAfterAStopAsIfThereHadBeenNone) {
  const ImportanceQuestion asked = question({});
  ImportanceCollector whole;
  ASSERT_TRUE(measure(asked, whole));
  ImportanceCollector half;
  stop_at_ = 2;
  EXPECT_EQ(measure(asked, half).error().code, ErrorCode::kCancelled);
  stop_at_ = 1000;
  ImportanceQuestion rest = asked;
  rest.first_chunk = 2;
  ASSERT_TRUE(measure(rest, half));
  for (const auto& [name, entry] : whole.entries()) {
    const auto entries = half.entries();
    const ImportanceEntry& other = entries.at(name);
    EXPECT_EQ(other.counts, entry.counts);
    EXPECT_THAT(other.sums, Pointwise(FloatNear(1e-3F), entry.sums)) << name;
  }
}

}  // namespace
}  // namespace gogrid

// The loss of smaller stages, measured slice by slice, against whole models side by side.
#include "engine/stage_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "device/device_registry.h"
#include "engine/loss_measurement.h"
#include "model/memory_estimator.h"
#include "model/stage_types.h"
#include "stage/llama_stage.h"
#include "support/quantized.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::TinyModel;

constexpr std::uint32_t kContext = 32;
const std::string kDigest(64, 'b');

class StageLossTest : public ::testing::Test {
 protected:
  StageLossTest() {
    for (int i = 0; i < 100; ++i) tokens_.push_back((i * 37 + 11) % 256);
    use_model({});
    for (const auto* id : {"a", "b"}) {
      Device device = testing::cpu_device();
      device.id = id;
      devices_.push_back(device);
      ledger_.set_cap(id, kGiB);
    }
  }
  void use_model(const TinyModel& model) {
    testing::write_tiny_model(folder_ / "model.gguf", model);
    file_.emplace(*GgufFile::open(folder_ / "model.gguf"));
    profile_ = *read_profile(*file_);
  }
  PlannedStage stage(const char* device, LayerRange layers, std::string_view type = "") const {
    PlannedStage planned;
    planned.device = device;
    planned.layers = layers;
    planned.memory = estimate_memory(profile_, {.layers = layers, .context = kContext});
    if (!type.empty()) planned.type = *find_stage_type(type);
    return planned;
  }
  Result<ModelLoss> measure(std::vector<PlannedStage> stages) {
    StageLossQuestion question;
    question.model = "tiny";
    question.file = &*file_;
    question.profile = &profile_;
    question.digest = kDigest;
    question.stages = std::move(stages);
    question.devices = devices_;
    question.tokens = tokens_;
    question.begin_token = begin_token_;
    question.context = kContext;
    question.scratch = folder_ / "slices";
    most_held_ = 0;
    share_ = 0;
    asked_ = 0;
    return measure_stage_loss(question, *factory_, slices_, &ledger_,
                              [this](double share) {
                                EXPECT_GE(share, share_);
                                EXPECT_LE(share, 1.0);
                                share_ = share;
                                Bytes held = 0;
                                for (const DeviceMemory& memory : ledger_.list())
                                  held += memory.held;
                                most_held_ = std::max(most_held_, held);
                                return ++asked_ < stop_at_;
                              },
                              {});
  }
  // Of the whole model against a file in which the layers that the pattern finds are in a type.
  ModelLoss measure_whole(const std::string& pattern, const std::string& type,
                          const std::string& output) {
    QuantizeOptions options{.mix = *find_mix("q8_0")};
    options.overrides = {{pattern, *find_weight_type(type)}, {"blk", *find_weight_type("f32")}};
    options.output_type = *find_weight_type(output);
    options.token_embedding_type = *find_weight_type("f32");
    const auto plan = plan_quantization(*file_, options);
    if (!plan) throw std::runtime_error(plan.error().message);
    const Status made = testing::write_quantized(*file_, folder_ / "other.gguf", options, *plan);
    if (!made) throw std::runtime_error(made.error().message);
    Device device = testing::cpu_device();
    device.id = "a";
    const LossQuestion question{.base = {"tiny", folder_ / "model.gguf", profile_},
                                .other = {"other", folder_ / "other.gguf",
                                          *read_profile(*GgufFile::open(folder_ / "other.gguf"))},
                                .tokens = tokens_,
                                .begin_token = begin_token_,
                                .context = kContext,
                                .max_chunks = 0,
                                .device = device};
    const auto loss = measure_loss(question, *factory_, ledger_,
                                   [](std::uint32_t, std::uint32_t) { return true; }, {});
    if (!loss) throw std::runtime_error(loss.error().message);
    return *loss;
  }
  std::set<std::string> slice_files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "slices")) {
      const std::string name = entry.path().filename();
      if (name != ".lock") names.insert(name);
    }
    return names;
  }
  Bytes held() const {
    Bytes sum = 0;
    for (const DeviceMemory& memory : ledger_.list()) sum += memory.held;
    return sum;
  }

  const TemporaryFolder folder_;
  const SliceCache slices_{folder_ / "slices", 0};
  const std::unique_ptr<StageFactory> factory_ = make_llama_stage_factory();
  std::optional<GgufFile> file_;
  ModelProfile profile_;
  std::vector<Device> devices_;
  MemoryLedger ledger_;
  std::vector<Token> tokens_;
  std::optional<Token> begin_token_;
  double share_ = 0;
  int asked_ = 0;
  int stop_at_ = 1'000'000;
  Bytes most_held_ = 0;
};

void expect_near(const ModelLoss& loss, const ModelLoss& other) {
  EXPECT_EQ(loss.positions, other.positions);
  EXPECT_NEAR(loss.base_perplexity, other.base_perplexity, 1e-3 * other.base_perplexity);
  EXPECT_NEAR(loss.perplexity, other.perplexity, 1e-3 * other.perplexity);
  EXPECT_NEAR(loss.mean_kl, other.mean_kl, 0.02 * other.mean_kl + 1e-7);
  EXPECT_NEAR(loss.p99_kl, other.p99_kl, 0.02 * other.p99_kl + 1e-7);
  EXPECT_NEAR(loss.same_top, other.same_top, 0.03);
}

TEST_F(StageLossTest, IsThatOfTheWholeModelWithTheSameWeights) {
  const auto last = measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")});
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_GT(last->mean_kl, 1e-5);
  // Its head has at least six bits: rows of 128 fit eight.
  expect_near(*last, measure_whole(R"(blk\.[23]\.)", "q4_0", "q8_0"));
}

TEST_F(StageLossTest, OfAFirstOrMiddleStageLeavesTheHeadAsItIs) {
  const auto first = measure({stage("a", {0, 1}, "q4_0"), stage("b", {1, 4})});
  ASSERT_TRUE(first) << first.error().message;
  expect_near(*first, measure_whole(R"(blk\.0\.)", "q4_0", "f32"));
  const auto middle = measure({stage("a", {0, 1}), stage("b", {1, 3}, "q4_0"), stage("a", {3, 4})});
  ASSERT_TRUE(middle) << middle.error().message;
  expect_near(*middle, measure_whole(R"(blk\.[12]\.)", "q4_0", "f32"));
}

TEST_F(StageLossTest, OfAllStagesIsThatOfTheModelQuantized) {
  begin_token_ = 7;
  const auto both = measure({stage("a", {0, 2}, "q4_0"), stage("b", {2, 4}, "q4_0")});
  ASSERT_TRUE(both) << both.error().message;
  const auto one = measure({stage("a", {0, 4}, "q4_0")});
  ASSERT_TRUE(one) << one.error().message;
  const ModelLoss whole = measure_whole("blk", "q4_0", "q8_0");
  expect_near(*both, whole);
  // Here libllama looks the tokens up, in an embedding of eight bits.
  EXPECT_NEAR(one->mean_kl, whole.mean_kl, 0.2 * whole.mean_kl);
}

TEST_F(StageLossTest, GrowsAsStagesGetSmaller) {
  double least = 0;
  for (const auto* type : {"q8_0", "q5_0", "q4_0"}) {
    const auto loss = measure({stage("a", {0, 2}), stage("b", {2, 4}, type)});
    ASSERT_TRUE(loss) << loss.error().message;
    EXPECT_GT(loss->mean_kl, 2 * least) << type;
    least = loss->mean_kl;
  }
}

TEST_F(StageLossTest, SaysOverWhatItWasMeasured) {
  const auto loss = measure({stage("a", {0, 2}, "q8_0"), stage("b", {2, 4})});
  ASSERT_TRUE(loss) << loss.error().message;
  EXPECT_EQ(loss->positions, 3U * (kContext / 2 - 1));
  EXPECT_EQ(loss->base, "tiny");
  EXPECT_EQ(loss->base_digest, kDigest);
  EXPECT_EQ(loss->context, kContext);
}

TEST_F(StageLossTest, OfAPlanThatChangesNothingIsNotAsked) {
  const auto refused = measure({stage("a", {0, 2}), stage("b", {2, 4})});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
}

// What does not fit as it is goes through memory in parts.
TEST_F(StageLossTest, TakesNoMoreMemoryThanTheLargestStageAndGivesItBack) {
  use_model({.n_layers = 8, .n_embd = 256, .n_ff = 1024});
  const std::vector<PlannedStage> stages = {stage("a", {0, 2}), stage("b", {2, 8}, "q4_0")};
  const auto free = measure(stages);
  ASSERT_TRUE(free) << free.error().message;
  const Bytes whole = estimate_memory(profile_, {.layers = {2, 8}}).weights;
  EXPECT_GE(most_held_, whole);
  const Bytes cap = whole / 2;
  ledger_.set_cap("a", cap);
  ledger_.set_cap("b", cap);
  const auto tight = measure(stages);
  ASSERT_TRUE(tight) << tight.error().message;
  EXPECT_LE(most_held_, cap);
  EXPECT_GT(most_held_, 0U);
  EXPECT_EQ(held(), 0U);
  expect_near(*tight, *free);
}

TEST_F(StageLossTest, KeepsTheSlicesOfThePlanAndNothingElse) {
  ASSERT_TRUE(measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")}));
  EXPECT_EQ(slice_files().size(), 2U);
}

TEST_F(StageLossTest, ThatIsToldToStopEndsAndLeavesNoLease) {
  ASSERT_TRUE(measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")}));
  ASSERT_TRUE(measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")}));  // with its slices
  const int all = asked_;
  ASSERT_GT(all, 10);
  for (const int at : {1, all / 3, all - 2}) {
    stop_at_ = at;
    const auto stopped = measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")});
    ASSERT_FALSE(stopped) << at;
    EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled) << stopped.error().message;
    EXPECT_EQ(held(), 0U);
  }
}

TEST_F(StageLossTest, SaysWhichLayersHaveNoRoomAndThatATextIsTooShort) {
  ledger_.set_cap("a", kMiB);
  ledger_.set_cap("b", kMiB / 16);
  auto refused = measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")});
  ASSERT_FALSE(refused);
  EXPECT_TRUE(is_for_memory(refused.error().code)) << refused.error().message;
  tokens_.resize(2 * kContext - 1);
  refused = measure({stage("a", {0, 2}), stage("b", {2, 4}, "q4_0")});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("at least 64 tokens"));
}

}  // namespace
}  // namespace gogrid

// That nothing of a model is allocated but what the ledger granted: where models and contexts are
// made in the source, and what the ledger holds whenever a stage is made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "app/prepare.h"
#include "base/files.h"
#include "resource/policy_store.h"
#include "stage/llama_stage.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::TemporaryFolder;
using ::testing::UnorderedElementsAre;

// The sources that have `text`, each as often as it does.
std::vector<std::string> who_says(std::string_view text) {
  const fs::path root = fs::path(GOGRID_SOURCE_DIR) / "src";
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".cpp" && entry.path().extension() != ".h") continue;
    const std::string source = read_file(entry.path(), 4 * kMiB).value();
    for (auto at = source.find(text); at != source.npos; at = source.find(text, at + 1)) {
      found.push_back(entry.path().lexically_relative(root));
    }
  }
  return found;
}

// Models with weights and contexts are made in one place, by a stage; and stages in five, all with
// the leases of their spec. The tokenizer's model is its vocabulary only.
TEST(NoWayAroundTheLedger, ModelsAreMadeInOnePlace) {
  EXPECT_THAT(who_says("llama_init_from_model("), ElementsAre("stage/llama_loader.cpp"));
  EXPECT_THAT(who_says("llama_model_load_from_"),
              UnorderedElementsAre("stage/llama_loader.cpp", "model/tokenizer.cpp"));
  EXPECT_THAT(who_says("llama_adapter_lora_init"), ElementsAre("stage/llama_loader.cpp"));
  EXPECT_THAT(who_says("vocab_only = true"), ElementsAre("model/tokenizer.cpp"));
  EXPECT_THAT(who_says("llama_model_init"), ElementsAre());
  EXPECT_THAT(who_says("factory.make("),
              UnorderedElementsAre("pipeline/stage_thread.cpp", "engine/stage_timer.cpp",
                                   "engine/text_run.cpp", "engine/importance_measurement.cpp"));
  EXPECT_THAT(who_says("factory_.make("), ElementsAre("engine/stage_loss.cpp"));
  EXPECT_THAT(who_says("time_stage(spec"), ElementsAre("engine/calibration.cpp"));
  EXPECT_THAT(who_says("TextEngine::load("),
              UnorderedElementsAre("engine/text_engine.cpp", "app/serve_command.cpp",
                                   "app/run_command.cpp", "app/bench_command.cpp"));
}

Bytes leased(const StageLeases& leases) {
  return leases.weights.bytes() + leases.kv.bytes() + leases.compute.bytes();
}

// Real stages; counts those that are made, and those of them for which there is a lease.
class CountingFactory final : public StageFactory {
 public:
  explicit CountingFactory(const MemoryLedger& ledger) : ledger_(ledger) {}
  Result<std::unique_ptr<Stage>> make(const StageSpec& spec,
                                      const std::function<void(double)>& progress,
                                      std::stop_token stop) override {
    ++made;
    if (spec.leases != nullptr && leased(*spec.leases) > 0 &&
        held(spec.device.id) >= leased(*spec.leases)) {
      ++covered;
    }
    auto stage = factory_->make(spec, progress, std::move(stop));
    if (stage && spec.leases != nullptr) {
      // Estimates are within 10 % of what a tiny model takes; only what is told can be compared.
      EXPECT_GE(leased(*spec.leases) * 110 / 100 + kMiB, (*stage)->memory().total());
    }
    return stage;
  }
  std::atomic<int> made = 0;
  std::atomic<int> covered = 0;

 private:
  Bytes held(const std::string& device) const {
    for (const DeviceMemory& memory : ledger_.list()) {
      if (memory.device == device) return memory.held;
    }
    return 0;
  }
  const MemoryLedger& ledger_;
  const std::unique_ptr<StageFactory> factory_ = make_llama_stage_factory();
};

Bytes held_by_all() {
  Bytes bytes = 0;
  for (const DeviceMemory& memory : process_wide_ledger().list()) bytes += memory.held;
  return bytes;
}

class NoWayAround : public ::testing::Test {
 protected:
  NoWayAround() { testing::write_tiny_model(folder_ / "tiny.gguf"); }

  const TemporaryFolder folder_;
  const SteadyClock clock_;
  const Workspace workspace_ = Workspace::open(folder_ / "data").value();
  const std::vector<DeviceSpec> specs_{parse_device_spec("cpu0").value()};
  const DeviceRegistry registry_ = DeviceRegistry::detect(specs_, clock_).value();
  CountingFactory factory_{process_wide_ledger()};
};

// As `gogrid run` and `gogrid bench` do it: devices are measured, the model is planned and loaded,
// and makes its first token.
TEST_F(NoWayAround, EveryStageOfACommandHasItsLeaseFromMeasuringToTheFirstToken) {
  PlacementOptions placement;
  placement.devices = specs_;
  placement.context = 256;
  placement.split = parse_split("0:2@cpu0,2:4@cpu0").value();
  auto prepared =
      prepare_model(workspace_, registry_, factory_, placement, (folder_ / "tiny.gguf").string());
  ASSERT_TRUE(prepared) << prepared.error().message;
  const int measured = factory_.made;
  EXPECT_GT(measured, 0);
  EXPECT_EQ(factory_.covered, measured);
  EXPECT_EQ(held_by_all(), 0U);
  {
    const auto engine = TextEngine::load(engine_options(workspace_, *prepared, placement, nullptr),
                                         factory_, clock_, [](double) {}, {});
    ASSERT_TRUE(engine) << engine.error().message;
    EXPECT_EQ(factory_.made, measured + 2);
    EXPECT_EQ(factory_.covered, factory_.made);
    EXPECT_GT(held_by_all(), 0U);
  }
  EXPECT_EQ(held_by_all(), 0U);
}

TEST_F(NoWayAround, UnderAShareOfNothingNoStageIsMadeAtAll) {
  PlacementOptions placement;
  placement.devices = specs_;
  auto policies =
      PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), workspace_.policy_file());
  ASSERT_TRUE(policies);
  const PolicySetting nothing{"max_device_memory", 0.0};
  ASSERT_TRUE((*policies)->change({&nothing, 1}, "a test"));
  const auto prepared =
      prepare_model(workspace_, registry_, factory_, placement, (folder_ / "tiny.gguf").string());
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(prepared.error().message, ::testing::HasSubstr("cap 0 B"));
  EXPECT_EQ(factory_.made, 0);
}

}  // namespace
}  // namespace gogrid

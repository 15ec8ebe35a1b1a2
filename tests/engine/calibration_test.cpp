#include "engine/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <map>
#include <thread>

#include "base/files.h"
#include "device/device_registry.h"
#include "engine/calibration_cache.h"
#include "engine/stage_timer.h"
#include "model/memory_estimator.h"
#include "stage/llama_stage.h"
#include "support/manual_clock.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using gogrid::testing::ManualClock;
using gogrid::testing::TemporaryFolder;
using gogrid::testing::TinyModel;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kDigest =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

// A device that takes exactly as long as the cost model says, on a clock that it moves itself.
struct Speed {
  double call = 0.25;
  double layer = 0.5, layer_row = 0.125;
  double head = 2, head_row = 0.5;
  bool disturbed = false;  // two of three steps take twice as long
};

class TimedStage final : public Stage {
 public:
  TimedStage(const StageSpec& spec, const Speed& speed, ManualClock& clock)
      : spec_(spec), speed_(speed), clock_(clock) {}
  Result<StageOutput> forward(StageInput& input, std::stop_token) override {
    const auto rows = static_cast<double>(input.rows.size());
    const auto outputs = static_cast<double>(input.outputs.size());
    EXPECT_EQ(input.outputs.empty(), !spec_.is_last());
    EXPECT_EQ(input.hidden.empty(), spec_.is_first());
    double ms = speed_.call + spec_.layers.size() * (speed_.layer + speed_.layer_row * rows);
    if (spec_.is_last()) ms += speed_.head + speed_.head_row * outputs;
    if (speed_.disturbed && ++steps_ % 3 != 0) ms *= 2;
    clock_.advance(
        std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms)));
    return StageOutput{};
  }
  StageMemory memory() const override { return {}; }

 private:
  const StageSpec spec_;
  const Speed speed_;
  ManualClock& clock_;
  int steps_ = 0;
};

class TimedFactory final : public StageFactory {
 public:
  explicit TimedFactory(ManualClock& clock) : clock_(clock) {}
  std::map<std::string, Speed> speeds;          // by device id; others fail
  std::map<std::string, std::string> throwing;  // by device id: what()
  std::vector<std::string> made;                // "device layers"
  std::thread::id thread;

  Result<std::unique_ptr<Stage>> make(const StageSpec& spec, const std::function<void(double)>&,
                                      std::stop_token) override {
    thread = std::this_thread::get_id();
    made.push_back(spec.device.id + " " + to_string(spec.layers));
    if (const auto text = throwing.find(spec.device.id); text != throwing.end()) {
      throw std::runtime_error(text->second);
    }
    const auto speed = speeds.find(spec.device.id);
    if (speed == speeds.end()) return fail(ErrorCode::kExhausted, "[stage] no memory");
    EXPECT_EQ(spec.is_whole(), spec.slice == nullptr);
    return std::make_unique<TimedStage>(spec, speed->second, clock_);
  }

 private:
  ManualClock& clock_;
};

Device cpu(const std::string& id, std::vector<int> cores = {0}) {
  Device device;
  device.id = id;
  device.backend = "CPU";
  device.name = "some processor";
  device.cores = std::move(cores);
  device.memory_free = device.memory_total = 8 * kGiB;
  return device;
}

class Calibration : public ::testing::Test {
 protected:
  void use_model(const TinyModel& model) {
    write_tiny_model(folder_ / "tiny.gguf", model);
    file_.emplace(*GgufFile::open(folder_ / "tiny.gguf"));
    profile_ = *read_profile(*file_);
  }
  Result<Measurements> calibrate_on(const std::vector<Device>& devices,
                                    MemoryLedger* ledger = nullptr) {
    notes_.clear();
    factory_.made.clear();
    return calibrate(
        *file_, profile_, kDigest, devices, factory_, slices_, folder_ / "speeds", clock_,
        [this](std::string_view text) { notes_.emplace_back(text); }, ledger);
  }
  Result<std::vector<DeviceBudget>> run(const std::vector<Device>& devices) {
    GOGRID_ASSIGN_OR_RETURN(const Measurements found, calibrate_on(devices));
    return found.budgets;
  }

  TemporaryFolder folder_;
  ManualClock clock_;
  TimedFactory factory_{clock_};
  SliceCache slices_{folder_ / "slices", 0};
  std::optional<GgufFile> file_;
  ModelProfile profile_;
  std::vector<std::string> notes_;
};

void expect_speed(const DeviceBudget& budget, const Speed& speed) {
  EXPECT_NEAR(budget.call_ms, speed.call, 1e-4);
  EXPECT_NEAR(budget.layer_read_ms, speed.layer, 1e-4);
  EXPECT_NEAR(budget.layer_row_ms, speed.layer_row, 1e-4);
  EXPECT_NEAR(budget.head_read_ms, speed.head, 1e-4);
  EXPECT_NEAR(budget.head_row_ms, speed.head_row, 1e-4);
  // A large batch: the layer is read once for all its rows.
  EXPECT_NEAR(budget.prefill_row_ms, speed.layer_row + speed.layer / kTimedRows, 1e-4);
}

TEST_F(Calibration, FindsWhatEachDeviceCosts) {
  use_model({.n_layers = 8});
  factory_.speeds = {{"fast", {}}, {"slow", {1, 2, 0.5, 4, 1, false}}};
  const auto budgets = run({cpu("fast", {0}), cpu("slow", {1})});
  ASSERT_TRUE(budgets) << budgets.error().message;
  ASSERT_EQ(budgets->size(), 2U);
  EXPECT_EQ(budgets->at(0).id, "fast");
  expect_speed(budgets->at(0), factory_.speeds["fast"]);
  expect_speed(budgets->at(1), factory_.speeds["slow"]);
  EXPECT_THAT(notes_, Contains(HasSubstr("fast: a layer 0.500 ms")));
}

TEST_F(Calibration, RunsAMiddleLayerTheHeadAndTheWholeOfASmallModel) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  ASSERT_TRUE(run({cpu("a")}));
  EXPECT_THAT(factory_.made, ElementsAre("a 3-4", "a 7-8", "a 0-8"));
}

TEST_F(Calibration, AsksBeforeEachPieceOfWorkAndNotAtAllWhereAllWasMeasured) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  std::vector<std::size_t> made_when_asked;
  const auto measure = [&] {
    made_when_asked.clear();
    return calibrate(
        *file_, profile_, kDigest, std::vector{cpu("a")}, factory_, slices_, folder_ / "speeds",
        clock_, [](std::string_view) {}, nullptr,
        [&] {
          if (made_when_asked.empty()) {
            EXPECT_FALSE(std::filesystem::exists(folder_ / "slices"));
          }
          made_when_asked.push_back(factory_.made.size());
          return true;
        });
  };
  ASSERT_TRUE(measure());
  EXPECT_THAT(factory_.made, ElementsAre("a 3-4", "a 7-8", "a 0-8"));
  EXPECT_THAT(made_when_asked, ::testing::IsSupersetOf({0U, 1U, 2U}));
  ASSERT_TRUE(measure());
  EXPECT_THAT(made_when_asked, IsEmpty());
}

TEST_F(Calibration, CutsOnThePatternOfTheModel) {
  use_model({.architecture = "gemma3", .n_layers = 18});
  factory_.speeds["a"] = {};
  const auto budgets = run({cpu("a")});
  ASSERT_TRUE(budgets);
  expect_speed(budgets->at(0), factory_.speeds["a"]);
  EXPECT_THAT(factory_.made, ElementsAre("a 6-12", "a 12-18", "a 0-18"));
}

TEST_F(Calibration, RunsWhatCannotBeCutAsAWhole) {
  use_model({.architecture = "gpt2", .n_kv_heads = 4});
  factory_.speeds["a"] = {0, 0.5, 0.125, 0, 0, false};
  const auto budgets = run({cpu("a")});
  ASSERT_TRUE(budgets);
  EXPECT_THAT(factory_.made, ElementsAre("a 0-4"));
  expect_speed(budgets->at(0), factory_.speeds["a"]);
}

TEST_F(Calibration, DoesNotLoadAWholeModelWhereItDoesNotFit) {
  use_model({.architecture = "gpt2", .n_kv_heads = 4});
  Device small = cpu("a");
  small.memory_budget = kMiB;
  const auto budgets = run({small});
  ASSERT_TRUE(budgets);
  EXPECT_EQ(budgets->at(0).memory, kMiB);
  EXPECT_THAT(factory_.made, IsEmpty());
  EXPECT_THAT(notes_, Contains(HasSubstr("cannot hold the model")));
}

TEST_F(Calibration, RemembersWhatItMeasured) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  const auto first = run({cpu("a")});
  factory_.speeds["a"].layer = 99;
  const auto second = run({cpu("a")});
  ASSERT_TRUE(second);
  EXPECT_THAT(factory_.made, IsEmpty());
  expect_speed(second->at(0), {});
  EXPECT_THAT(notes_, Contains(HasSubstr("measured before")));
}

TEST_F(Calibration, DoesNotRememberWhatItMeasuredOnABusyDevice) {
  use_model({.n_layers = 8});
  factory_.speeds["a"].disturbed = true;
  const auto budgets = run({cpu("a")});
  ASSERT_TRUE(budgets);
  // The undisturbed steps are what counts meanwhile.
  EXPECT_NEAR(budgets->at(0).layer_read_ms, Speed{}.layer, 1e-4);
  EXPECT_THAT(notes_, Contains(HasSubstr("was busy")));
  factory_.speeds["a"].disturbed = false;
  ASSERT_TRUE(run({cpu("a")}));
  EXPECT_EQ(factory_.made.size(), 3U);
  EXPECT_THAT(notes_, Not(Contains(HasSubstr("was busy"))));
}

TEST_F(Calibration, MeasuresAnewOnOtherCores) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  ASSERT_TRUE(run({cpu("a", {0})}));
  ASSERT_TRUE(run({cpu("a", {0, 1})}));
  EXPECT_EQ(factory_.made.size(), 3U);
}

TEST_F(Calibration, KnowsADeviceByWhatItIsAndNotByItsName) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  ASSERT_TRUE(run({cpu("a")}));
  const auto budgets = run({cpu("b")});
  ASSERT_TRUE(budgets);
  EXPECT_EQ(budgets->at(0).id, "b");
  EXPECT_THAT(factory_.made, IsEmpty());
}

TEST_F(Calibration, MeasuresAnewWhenTheFileIsDamaged) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  for (const std::string damage :
       {"", "{", "[]", "null", "{\"key\": 5}", "\xff\xfe", "{\"key\":\"x\",\"call_ms\":-1}"}) {
    ASSERT_TRUE(run({cpu("a")}));
    int damaged = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "speeds")) {
      std::ofstream(entry.path()) << damage;
      ++damaged;
    }
    ASSERT_EQ(damaged, 1);
    const auto budgets = run({cpu("a")});
    ASSERT_TRUE(budgets);
    EXPECT_EQ(factory_.made.size(), 3U) << damage;
    expect_speed(budgets->at(0), {});
    std::filesystem::remove_all(folder_ / "speeds");
  }
}

TEST_F(Calibration, GoesOnWhenItsFolderCannotBeWritten) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  ASSERT_TRUE(write_file(folder_ / "speeds", "a file, not a folder"));
  ASSERT_TRUE(run({cpu("a")}));
  EXPECT_THAT(notes_, Contains(HasSubstr("[calibration] the folder")));
}

TEST_F(Calibration, LeavesOutADeviceThatCannotRunIt) {
  use_model({.n_layers = 8});
  factory_.speeds["good"] = {};
  factory_.throwing["bad"] = "driver bug";
  const auto found = calibrate_on({cpu("poor", {0}), cpu("bad", {1}), cpu("good", {2})});
  ASSERT_TRUE(found);
  ASSERT_EQ(found->budgets.size(), 1U);
  EXPECT_EQ(found->budgets.at(0).id, "good");
  EXPECT_THAT(notes_, Contains(HasSubstr("poor: left out: [stage] no memory")));
  EXPECT_THAT(notes_, Contains(HasSubstr("driver bug")));
  ASSERT_EQ(found->unmeasured.size(), 1U);
  EXPECT_EQ(found->unmeasured.at("poor").code, ErrorCode::kExhausted);
}

TEST_F(Calibration, FailsWhenNoDeviceIsLeft) {
  use_model({.n_layers = 8});
  factory_.throwing["bad"] = "driver bug";
  const auto found = calibrate_on({cpu("bad")});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kInternal);
}

TEST_F(Calibration, IsNoFailureWhereMemoryIsAllThatIsShort) {
  use_model({.n_layers = 8});
  factory_.throwing["bad"] = "driver bug";
  const auto found = calibrate_on({cpu("bad", {0}), cpu("poor", {1})});
  ASSERT_TRUE(found);
  EXPECT_THAT(found->budgets, IsEmpty());
  EXPECT_TRUE(found->unmeasured.contains("poor"));
}

// A cap that is too small for the largest slice: nothing is made in vain, each time it is asked.
TEST_F(Calibration, MakesNothingWhereTheLedgerWouldRefusePartOfIt) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  MemoryLedger ledger;
  ledger.set_cap("a", kMiB);
  auto found = calibrate_on({cpu("a")}, &ledger);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->unmeasured.at("a").code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(factory_.made, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "slices"));
  ledger.set_cap("a", kGiB);
  found = calibrate_on({cpu("a")}, &ledger);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->budgets.size(), 1U);
  EXPECT_THAT(found->unmeasured, IsEmpty());
}

// Stages may be made smaller for it: it is to be used, so its speed is to be known.
TEST_F(Calibration, MeasuresASmallDeviceWithTheSlicesThatItHolds) {
  use_model({.n_layers = 16, .n_embd = 256, .n_ff = 1024});
  factory_.speeds["a"] = {};
  MemoryLedger ledger;
  const auto memory = [&](LayerRange layers) {
    return estimate_memory(profile_, {.layers = layers,
                                      .context = kTimedContext,
                                      .parallel = kTimedSlots,
                                      .max_step_rows = kTimedRows})
        .total();
  };
  ledger.set_cap("a", memory({0, 5}));
  auto found = calibrate_on({cpu("a")}, &ledger);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->budgets.size(), 1U);
  EXPECT_THAT(factory_.made, ElementsAre("a 7-8", "a 15-16", "a 0-5"));
  EXPECT_NEAR(found->budgets[0].layer_read_ms, 0.5, 1e-3);
  EXPECT_NEAR(found->budgets[0].head_read_ms, 2, 1e-2);
}

// A head as large as two layers costs as much as they do.
TEST_F(Calibration, GuessesTheCostOfAHeadThatADeviceCannotHold) {
  use_model({.n_layers = 16});
  profile_.head_bytes = profile_.token_embedding_bytes = 2 * profile_.layer_weights[0];
  profile_.tied_embeddings = true;
  profile_.n_vocab = 1 << 16;  // whose logits would be too much
  factory_.speeds["a"] = {};
  MemoryLedger ledger;
  const auto memory = [&](LayerRange layers) {
    return estimate_memory(profile_, {.layers = layers,
                                      .context = kTimedContext,
                                      .parallel = kTimedSlots,
                                      .max_step_rows = kTimedRows})
        .total();
  };
  ASSERT_LT(memory({0, 4}), memory({15, 16}));
  ledger.set_cap("a", memory({0, 4}));
  const auto found = calibrate_on({cpu("a")}, &ledger);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->budgets.size(), 1U);
  EXPECT_THAT(factory_.made, ElementsAre("a 7-8", "a 0-4"));
  EXPECT_NEAR(found->budgets[0].head_read_ms, 2 * found->budgets[0].layer_read_ms, 1e-6);
  EXPECT_NEAR(found->budgets[0].head_row_ms, 2 * found->budgets[0].layer_row_ms, 1e-6);
}

TEST_F(Calibration, OfAWholeModelThatDoesNotFitInWhatIsFreeIsForAnotherTime) {
  use_model({.architecture = "gpt2", .n_kv_heads = 4});
  factory_.speeds["a"] = {0, 0.5, 0.125, 0, 0, false};
  Device busy = cpu("a");
  busy.memory_free = kMiB;
  const auto found = calibrate_on({busy});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->unmeasured.at("a").code, ErrorCode::kExhausted);
  EXPECT_THAT(factory_.made, IsEmpty());
}

TEST_F(Calibration, ThatIsToldToStopIsCancelled) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  const auto found = calibrate(
      *file_, profile_, kDigest, std::vector{cpu("a")}, factory_, slices_, folder_ / "speeds",
      clock_, [](std::string_view) {}, nullptr, [] { return false; });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kCancelled);
  EXPECT_THAT(factory_.made, IsEmpty());
}

TEST_F(Calibration, RunsStagesOnAThreadThatMayBePinned) {
  use_model({.n_layers = 8});
  factory_.speeds["a"] = {};
  ASSERT_TRUE(run({cpu("a")}));
  EXPECT_NE(factory_.thread, std::this_thread::get_id());
}

TEST_F(Calibration, DoesNotMeasureSoftwareRenderersUnlessNamed) {
  use_model({.n_layers = 8});
  factory_.speeds = {{"cpu0", {}}, {"vulkan0", {}}};
  Device software = cpu("vulkan0", {});
  software.kind = DeviceKind::kGpu;
  software.backend = "Vulkan";
  software.name = "llvmpipe (LLVM 19)";
  auto budgets = run({cpu("cpu0"), software});
  ASSERT_TRUE(budgets);
  EXPECT_TRUE(budgets->at(1).last_resort);
  EXPECT_THAT(factory_.made, Not(Contains(HasSubstr("vulkan0"))));
  software.named = true;
  budgets = run({cpu("cpu0"), software});
  ASSERT_TRUE(budgets);
  EXPECT_FALSE(budgets->at(1).last_resort);
  EXPECT_THAT(factory_.made, Contains(HasSubstr("vulkan0")));
}

TEST(PlannableMemory, IsTheLessOfBudgetAndFree) {
  Device device = cpu("a");
  device.memory_budget = kGiB;
  EXPECT_THAT(plannable_memory(std::vector{device}), ElementsAre(kGiB));
  device.memory_budget = 100 * kGiB;
  EXPECT_THAT(plannable_memory(std::vector{device}), ElementsAre(8 * kGiB));
}

TEST(PlannableMemory, IsSharedByCpuDevicesWithoutABudget) {
  Device with_budget = cpu("a");
  with_budget.memory_budget = 2 * kGiB;
  EXPECT_THAT(plannable_memory(std::vector{with_budget, cpu("b"), cpu("c")}),
              ElementsAre(2 * kGiB, 3 * kGiB, 3 * kGiB));
}

TEST(PlannableMemory, OfAGpuIsItsOwn) {
  Device gpu = cpu("cuda0", {});
  gpu.kind = DeviceKind::kGpu;
  gpu.memory_free = 5 * kGiB;
  EXPECT_THAT(plannable_memory(std::vector{gpu, cpu("cpu0")}), ElementsAre(5 * kGiB, 8 * kGiB));
}

TEST(PlannableMemory, IsNoBoundWhenUnknown) {
  Device gpu = cpu("cuda0", {});
  gpu.kind = DeviceKind::kGpu;
  gpu.memory_free = gpu.memory_total = std::nullopt;
  EXPECT_GT(plannable_memory(std::vector{gpu}).front(), Bytes{1} << 50);
}

// With libllama: every stage it asks for can be made and run.
TEST(CalibrationOfRealStages, GivesSpeedsAboveZero) {
  const TemporaryFolder folder;
  gogrid::testing::write_tiny_model(folder / "tiny.gguf",
                                    {.architecture = "gemma3", .n_layers = 12});
  const auto file = GgufFile::open(folder / "tiny.gguf");
  ASSERT_TRUE(file);
  const auto profile = read_profile(*file);
  ASSERT_TRUE(profile);
  const SteadyClock clock;
  const auto registry = DeviceRegistry::detect(std::vector{*parse_device_spec("cpu0")}, clock);
  ASSERT_TRUE(registry);
  SliceCache slices(folder / "slices", 0);
  const auto factory = make_llama_stage_factory();
  std::vector<std::string> notes;
  const auto found =
      calibrate(*file, *profile, kDigest, registry->devices(), *factory, slices, folder / "speeds",
                clock, [&](std::string_view text) { notes.emplace_back(text); });
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->budgets.size(), 1U) << ::testing::PrintToString(notes);
  EXPECT_GT(found->budgets.front().layer_read_ms + found->budgets.front().layer_row_ms, 0);
  EXPECT_GT(found->budgets.front().prefill_row_ms, 0);
}

}  // namespace
}  // namespace gogrid

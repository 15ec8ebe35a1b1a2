// What the compatibility checker says, against what happens: what it says fits is loaded under a
// ledger with these caps and makes a token; what it says does not fit is refused by that ledger,
// cut as it may be. Memory is made scarce by budgets and by a policy; models, contexts and numbers
// of sequences vary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/format.h"
#include "engine/calibration.h"
#include "engine/text_engine.h"
#include "model/gguf_file.h"
#include "model/memory_estimator.h"
#include "resource/memory_caps.h"
#include "service/compatibility_service.h"
#include "stage/llama_stage.h"
#include "stage/stage_leases.h"
#include "support/recording_sink.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using testing::RecordingSink;
using testing::TemporaryFolder;
using testing::TinyModel;
using testing::TinyWeights;

const SteadyClock kClock;
// libllama reports hundredths of a mebibyte, one line a buffer.
constexpr double kRounding = 0.1 * static_cast<double>(kMiB);

// Memory is a share of what the whole model takes on one device.
struct Case {
  std::string architecture;
  std::uint32_t context = 512;
  std::uint32_t parallel = 1;
  double first = 1.0;
  double second = 0.0;  // 0: there is one device only
  double policy = 1.0;  // max_device_memory
  bool deterministic = false;
};

std::string to_string(const Case& asked) {
  return format_text("{} {}x{} on {} + {} under {}{}", asked.architecture, asked.parallel,
                     asked.context, asked.first, asked.second, asked.policy,
                     asked.deterministic ? ", deterministic" : "");
}

std::uint32_t layers_of(const std::string& architecture) {
  if (architecture == "gemma3") return 12;  // two pieces of its pattern
  return architecture == "lfm2" ? 8 : 4;
}

bool is_close(const SetVerdict& verdict) {
  return std::ranges::any_of(verdict.why,
                             [](const std::string& why) { return why.starts_with("close:"); });
}

class Grid {
 public:
  explicit Grid(const Case& asked) : asked_(asked) {
    TinyModel model{.architecture = asked.architecture,
                    .n_layers = layers_of(asked.architecture),
                    .n_embd = 512,
                    .n_heads = 8,
                    .n_kv_heads = 4,
                    .n_ff = 1536,
                    .context = 4096,
                    .weights = TinyWeights::kF16};
    write_tiny_model(path(), model);
    profile_ = *read_profile(*GgufFile::open(path()));
    question_ = question_for("tiny", profile_, asked.context, asked.parallel);
    question_.flash_attention = !asked.deterministic;
    add_device("cpu-a", asked.first);
    if (asked.second > 0) add_device("cpu-b", asked.second);
    ResourcePolicy policy = ResourcePolicy::of(ResourceMode::kAggressive);
    policy.max_device_memory = *Share::of(asked.policy);
    set_caps(ledger_, devices_, policy);
  }

  CompatibilityReport check() {
    const CompatibilityService service(
        {.find = [this](std::string_view) { return CheckedModel{"tiny", path(), ""}; },
         .devices = [this] { return devices_; },
         .ledger = &ledger_,
         .measurements = folder_ / "measurements",
         .slices = folder_.path(),
         .deterministic = asked_.deterministic});
    auto report = service.check("tiny", {.context = asked_.context, .parallel = asked_.parallel});
    if (!report) throw std::runtime_error(report.error().message);
    return *std::move(report);
  }

  // Loads the model on these devices as planned, and has it make a token.
  void expect_serves(const SetVerdict& verdict) {
    std::vector<DeviceBudget> budgets;
    for (const std::string& id : verdict.devices)
      budgets.push_back({.id = id, .memory = cap_of(id)});
    const auto plan = plan_stages(profile_, budgets, question_);
    ASSERT_TRUE(plan) << plan.error().message;
    TextEngineOptions options;
    options.model = "tiny";
    options.path = path();
    options.plan = *plan;
    options.devices = devices_;
    options.slice_folder = folder_ / "slices";
    options.max_step_rows = question_.max_step_rows;
    options.deterministic = asked_.deterministic;
    options.ledger = &ledger_;
    const auto engine = TextEngine::load(options, *factory_, kClock, [](double) {}, {});
    if (is_close(verdict) && !engine) {
      EXPECT_EQ(engine.error().code, ErrorCode::kDoesNotFit) << engine.error().message;
      return;
    }
    ASSERT_TRUE(engine) << engine.error().message;
    expect_a_token(**engine);
    expect_bytes_as_predicted(**engine);
  }

  // However it is cut over these devices, in whatever order, the ledger says never.
  void expect_refused(const SetVerdict& verdict) {
    std::vector<std::string> order = verdict.devices;
    std::ranges::sort(order);
    do {
      expect_refused_as({{order[0], {0, profile_.n_layers}}});
      if (order.size() == 1) continue;
      for (const std::uint32_t cut : profile_.allowed_cuts) {
        expect_refused_as({{order[0], {0, cut}}, {order[1], {cut, profile_.n_layers}}});
      }
    } while (std::ranges::next_permutation(order).found);
  }

 private:
  struct Placed {
    std::string device;
    LayerRange layers;
  };

  std::filesystem::path path() const { return folder_ / "tiny.gguf"; }
  StageMemory memory_of(LayerRange layers) const {
    return estimate_memory(profile_, {.layers = layers,
                                      .context = question_.context,
                                      .parallel = question_.parallel,
                                      .max_step_rows = question_.max_step_rows,
                                      .flash_attention = question_.flash_attention});
  }
  void add_device(const char* id, double share) {
    Device device = testing::cpu_device();
    device.id = id;
    device.named = true;
    device.memory_total = device.memory_free = 64 * kGiB;
    const auto whole = static_cast<double>(memory_of({0, profile_.n_layers}).total());
    device.memory_budget = static_cast<Bytes>(whole * share);
    devices_.push_back(device);
  }
  Bytes cap_of(const std::string& id) const {
    const auto accounts = ledger_.list();
    return std::ranges::find(accounts, id, &DeviceMemory::device)->cap;
  }
  static void expect_a_token(TextEngine& engine) {
    auto sink = std::make_shared<RecordingSink>();
    Submission submission{.request = {}, .sink = sink};
    submission.request.id = "r";
    submission.request.prompt = {5, 6, 7};
    submission.request.max_tokens = 1;
    ASSERT_TRUE(engine.generate(std::move(submission)));
    ASSERT_TRUE(sink->wait_for_end());
    EXPECT_FALSE(sink->error());
    EXPECT_TRUE(sink->finish());
  }
  static void expect_bytes_as_predicted(const TextEngine& engine) {
    const auto used = engine.stages();
    const auto& planned = engine.plan().stages;
    ASSERT_EQ(used.size(), planned.size());
    for (std::size_t i = 0; i < used.size(); ++i) {
      const auto real = static_cast<double>(used[i].memory.total());
      EXPECT_NEAR(static_cast<double>(planned[i].memory.total()), real, 0.1 * real + kRounding);
    }
  }
  void expect_refused_as(const std::vector<Placed>& placed) {
    std::vector<StageNeed> needs;
    for (const auto& [device, layers] : placed) needs.push_back({device, memory_of(layers)});
    const auto refused = ledger_.check(memory_requests("tiny", needs));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  }

  const Case asked_;
  const TemporaryFolder folder_;
  ModelProfile profile_;
  PlanQuestion question_;
  std::vector<Device> devices_;
  MemoryLedger ledger_;
  const std::unique_ptr<StageFactory> factory_ = make_llama_stage_factory();
};

// 45: five architectures (gemma2 cannot be cut) by nine ways to have memory.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* architecture : {"llama", "qwen2moe", "gemma3", "gemma2", "lfm2"}) {
    const std::string name(architecture);
    all.push_back({name, 512, 1, 1.0});  // what the estimate says, to the byte
    all.push_back({name, 256, 2, 1.12});
    all.push_back({name, 1024, 4, 0.9});
    all.push_back({name, 512, 2, 0.8, 0.7});
    all.push_back({name, 2048, 1, 0.3, 0.3});
    all.push_back({name, 256, 8, 1.3, 0.4});
    all.push_back({name, 768, 3, 1.4, 0.5, 0.6});
    all.push_back({name, 512, 2, 1.5, 0, 0.5});
    all.push_back({name, 512, 2, 1.15, 0, 1.0, true});
  }
  return all;
}

TEST(CheckHonesty, WhatFitsServesAndWhatDoesNotIsRefused) {
  int served = 0;
  int refused = 0;
  int cut = 0;
  int sure = 0;  // fits, and not only just
  for (const Case& asked : cases()) {
    SCOPED_TRACE(to_string(asked));
    Grid grid(asked);
    const CompatibilityReport report = grid.check();
    for (const SetVerdict& verdict : report.verdicts) {
      SCOPED_TRACE(verdict.devices.size() == 1 ? verdict.devices.front() : "both");
      if (verdict.fits) {
        grid.expect_serves(verdict);
        sure += !is_close(verdict);
        cut += verdict.devices.size() == 2 && !report.verdicts[0].fits;
      } else {
        grid.expect_refused(verdict);
      }
      ++(verdict.fits ? served : refused);
    }
  }
  RecordProperty("served", served);
  RecordProperty("refused", refused);
  RecordProperty("sure", sure);
  EXPECT_GE(sure, 20);
  EXPECT_GE(refused, 15);
  EXPECT_GE(cut, 3);
}

}  // namespace
}  // namespace gogrid

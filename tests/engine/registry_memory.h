// A registry whose models each hold 1110 bytes of cpu0 (FakeStage); time is moved by hand.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "engine/engine_registry.h"
#include "support/eventually.h"
#include "support/manual_clock.h"
#include "support/recording_sink.h"
#include "support/tiny_engine.h"

namespace gogrid::testing {

inline constexpr Bytes kTaken = 1110;

class RegistryMemory : public ::testing::Test {
 protected:
  explicit RegistryMemory(RegistryOptions options = {}) : registry_(clock_, with_ledger(options)) {
    ledger_.set_cap("cpu0", 10 * kTaken);
  }
  RegistryOptions with_ledger(RegistryOptions options) {
    options.ledger = &ledger_;
    return options;
  }

  void add(const std::string& name, Bytes planned = kTaken, ModelKeeping keeping = {}) {
    TextEngineOptions options = tiny_.options();
    options.model = name;
    for (Device& device : options.devices) device.id = "cpu0";
    options.plan.stages[0].device = "cpu0";
    options.plan.stages[0].memory.weights = planned;
    options.ledger = &ledger_;
    options.governor = &governor_;
    add(
        name,
        [this, options](const LoadProgress& progress, std::stop_token stop) {
          return TinyEngine::load(options, factory_, clock_, progress, stop);
        },
        keeping);
  }
  void add(const std::string& name, const EngineLoader& loader, ModelKeeping keeping = {}) {
    ASSERT_TRUE(registry_.add(
        name,
        [this, loader](const LoadProgress& progress, const std::stop_token& stop) {
          ++loads_;
          return loader(progress, stop);
        },
        keeping));
  }
  // A second model waits for the end of a pause to load, with its lease.
  void add_while_paused(const std::string& name) {
    const Bytes before = held();
    governor_.pause(PauseReason::kOperator, "a film", {});
    add(name);
    ASSERT_TRUE(eventually([&] { return held() == before + kTaken; }));
  }
  // Longer than the registry looks away, after a time that may have been its cue.
  void pass(Duration time) {
    clock_.advance(time);
    std::this_thread::sleep_for(std::chrono::milliseconds(450));
  }
  void set_cap(Bytes cap) {
    ledger_.set_cap("cpu0", cap);
    registry_.look();
  }
  bool comes_to(std::size_t index, ModelState state) {
    return eventually([&] { return registry_.list().at(index).state == state; });
  }
  Bytes held() const { return ledger_.list().front().held; }
  // A stream that hangs in its first step.
  std::shared_ptr<RecordingSink> start(const std::string& model) {
    hangs_ = true;
    auto sink = std::make_shared<RecordingSink>();
    Submission submission{.request = {}, .sink = sink};
    submission.request.prompt = {1, 2};
    submission.request.max_tokens = 5;
    EXPECT_TRUE(registry_.find(model).value()->generate(std::move(submission)));
    return sink;
  }
  void let_go() {
    hangs_ = false;
    latch_->open();
  }

  const TinyEngine tiny_;
  const std::shared_ptr<Latch> latch_ = std::make_shared<Latch>();
  std::atomic<bool> hangs_ = false;
  std::atomic<int> loads_ = 0;
  MemoryLedger ledger_;
  ManualClock clock_;
  Governor governor_{clock_};
  FakeStageFactory factory_{{.script = [this](testing::FakeCall& call) {
    if (hangs_) call.hang = latch_;
  }}};
  EngineRegistry registry_;
};

}  // namespace gogrid::testing

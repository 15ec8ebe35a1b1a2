// What an engine leases of the ledger. Each fake stage takes 1000 bytes of weights, 100 of KV cache
// and 10 of compute buffers, whatever was planned.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/text_engine.h"
#include "support/eventually.h"
#include "support/tiny_engine.h"

namespace gogrid {
namespace {

using testing::FakeStageFactory;
using ::testing::HasSubstr;
using testing::TinyEngine;

const SteadyClock kClock;
constexpr Bytes kTaken = 1110;  // by a stage

class EngineMemory : public ::testing::Test {
 protected:
  EngineMemory() { ledger_.set_cap("cpu0", 10'000); }

  TextEngineOptions options(const StageMemory& planned, const std::vector<std::uint32_t>& cuts) {
    TextEngineOptions options = tiny_.options(cuts);
    for (PlannedStage& stage : options.plan.stages) {
      stage.device = "cpu0";
      stage.memory = planned;
    }
    for (Device& device : options.devices) device.id = "cpu0";
    options.ledger = &ledger_;
    return options;
  }
  Result<std::unique_ptr<TextEngine>> load(StageFactory& factory, const StageMemory& planned,
                                           const std::vector<std::uint32_t>& cuts = {}) {
    return TinyEngine::load(options(planned, cuts), factory, kClock);
  }
  Bytes held() const { return ledger_.list().front().held; }

  const TinyEngine tiny_;
  MemoryLedger ledger_;
};

TEST_F(EngineMemory, HasAllThatIsPlannedBeforeAnythingIsMadeAndThenWhatWasTaken) {
  Bytes during = 0;
  FakeStageFactory factory({.load = [&](const StageSpec& spec, const auto&, std::stop_token) {
    during = held();
    EXPECT_NE(spec.leases, nullptr);
    return Status{};
  }});
  {
    const auto engine = load(factory, {.weights = 2000, .kv = 300, .compute = 40});
    ASSERT_TRUE(engine) << engine.error().message;
    EXPECT_EQ(during, 2340U);
    EXPECT_EQ(held(), kTaken);
    for (const MemoryHolder& holder : ledger_.list().front().holders) {
      EXPECT_EQ(holder.holder, "tiny");
    }
  }
  EXPECT_EQ(held(), 0U);
}

TEST_F(EngineMemory, IsAskedForByAllStagesAtOnceOrByNone) {
  FakeStageFactory factory;
  ledger_.set_cap("cpu0", 2 * kTaken);
  EXPECT_TRUE(load(factory, {.weights = kTaken}, {2}));
  const int made = factory.counters().made;
  ledger_.set_cap("cpu0", 2 * kTaken - 1);
  const auto refused = load(factory, {.weights = kTaken}, {2});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(refused.error().message, HasSubstr("short by 1 bytes"));
  EXPECT_EQ(factory.counters().made, made);
  EXPECT_EQ(held(), 0U);
}

TEST_F(EngineMemory, ThatOthersHoldIsRefusedForNowAndTheyAreUnharmed) {
  FakeStageFactory factory;
  ledger_.set_cap("cpu0", 2000);
  const auto first = load(factory, {.weights = 1500});
  ASSERT_TRUE(first);
  const auto second = load(factory, {.weights = 1500});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(second.error().message, HasSubstr("weights of tiny"));
  EXPECT_EQ(held(), kTaken);
  EXPECT_FALSE((*first)->failure());
}

TEST_F(EngineMemory, TakenBeyondThePlanAndTheCapEndsTheLoadAndIsGivenBack) {
  FakeStageFactory factory;
  ledger_.set_cap("cpu0", kTaken - 1);
  const auto engine = load(factory, {.weights = 500});
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kDoesNotFit);
  EXPECT_EQ(factory.counters().alive, 0);
  EXPECT_EQ(held(), 0U);
}

// A pause holds the load up between its lease and its weights.
TEST_F(EngineMemory, UnderACapThatShrankDuringAPauseIsGivenBackAndNothingIsMade) {
  FakeStageFactory factory;
  Governor governor(kClock);
  governor.pause(PauseReason::kOperator, "a film", {});
  TextEngineOptions paused = options({.weights = 2000}, {});
  paused.governor = &governor;
  const std::jthread person([&] {
    EXPECT_TRUE(testing::eventually([&] { return held() == 2000; }));
    ledger_.set_cap("cpu0", 1999);
    governor.resume(PauseReason::kOperator);
  });
  const auto engine = TinyEngine::load(paused, factory, kClock);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(engine.error().message, HasSubstr("cpu0"));
  EXPECT_EQ(factory.counters().made, 0);
  EXPECT_EQ(held(), 0U);
}

TEST_F(EngineMemory, IsGivenBackWhereALoadFails) {
  FakeStageFactory refuses({.load = [](const StageSpec&, const auto&, std::stop_token) -> Status {
    return fail(ErrorCode::kCorrupt, "no model");
  }});
  EXPECT_FALSE(load(refuses, {.weights = 500}));
  EXPECT_EQ(held(), 0U);
}

}  // namespace
}  // namespace gogrid

// Models that leave and return as caps change.
#include "engine/registry_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace gogrid {
namespace {

using testing::eventually;
using ::testing::HasSubstr;
using testing::kTaken;
using testing::Latch;
using testing::RecordingSink;
using testing::RegistryMemory;
using testing::TinyEngine;

TEST_F(RegistryMemory, AnIdleModelLeavesWhenItsCapShrinksAndReturnsWhenItGrows) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  set_cap(kTaken - 1);
  ASSERT_TRUE(comes_to(0, ModelState::kUnloaded));
  ASSERT_TRUE(eventually([&] { return held() == 0; }));
  const auto refused = registry_.find("a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(refused.error().retry_after);
  EXPECT_THAT(refused.error().message, HasSubstr("cap 1.1 KiB"));
  set_cap(kTaken);
  clock_.advance(std::chrono::seconds(1));
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  EXPECT_TRUE(registry_.list()[0].why.empty());
}

TEST_F(RegistryMemory, OnlySoManyLeaveAsMust) {
  add("a");
  add("b");
  ASSERT_TRUE(comes_to(1, ModelState::kReady));
  set_cap(kTaken);
  ASSERT_TRUE(eventually([&] { return held() == kTaken; }));
  clock_.advance(std::chrono::hours(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // longer than it looks away
  int ready = 0;
  for (const ModelStatus& model : registry_.list()) ready += model.state == ModelState::kReady;
  EXPECT_EQ(ready, 1);
  EXPECT_LE(loads_, 3);  // one try in vain
}

TEST_F(RegistryMemory, ABusyModelEndsItsStreamsTakesNoNewOnesAndThenLeaves) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  const auto sink = start("a");
  set_cap(0);
  ASSERT_TRUE(comes_to(0, ModelState::kLeaving));
  const auto refused = registry_.find("a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("streams"));
  EXPECT_EQ(held(), kTaken);
  let_go();
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_FALSE(sink->error());
  ASSERT_TRUE(comes_to(0, ModelState::kUnloaded));
  ASSERT_TRUE(eventually([&] { return held() == 0; }));
}

TEST_F(RegistryMemory, WhoeverFoundTheEngineMayStillUseIt) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  auto found = registry_.find("a").value();
  set_cap(0);
  ASSERT_TRUE(comes_to(0, ModelState::kLeaving));
  auto sink = std::make_shared<RecordingSink>();
  Submission submission{.request = {}, .sink = sink};
  submission.request.prompt = {1, 2};
  submission.request.max_tokens = 5;
  EXPECT_TRUE(found->generate(std::move(submission)));
  found.reset();
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_FALSE(sink->error());
  EXPECT_TRUE(comes_to(0, ModelState::kUnloaded));
}

TEST_F(RegistryMemory, ABusyModelStaysWhenTheCapGrowsInTime) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  const auto sink = start("a");
  set_cap(0);
  ASSERT_TRUE(comes_to(0, ModelState::kLeaving));
  set_cap(kTaken);
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  let_go();
  ASSERT_TRUE(sink->wait_for_end());
  EXPECT_TRUE(registry_.find("a"));
  EXPECT_EQ(loads_, 1);
}

TEST_F(RegistryMemory, WhatNeverFitsAndWhatDoesNotFitNowAreDifferentAnswers) {
  ledger_.set_cap("cpu0", kTaken);
  add("a");
  add("b");
  ASSERT_TRUE(comes_to(1, ModelState::kResting));  // a could make room
  EXPECT_EQ(registry_.find("b").error().code, ErrorCode::kExhausted);
  EXPECT_THAT(registry_.find("b").error().message, HasSubstr("weights of a"));
  EXPECT_TRUE(registry_.find("a"));
  ledger_.set_cap("never", 0);
  TextEngineOptions options = tiny_.options();
  options.plan.stages[0].device = "never";
  options.plan.stages[0].memory.weights = 1;
  for (Device& device : options.devices) device.id = "never";
  options.ledger = &ledger_;
  ASSERT_TRUE(registry_.add("c", [this, options](const LoadProgress& progress, std::stop_token s) {
    return TinyEngine::load(options, factory_, clock_, progress, s);
  }));
  ASSERT_TRUE(comes_to(2, ModelState::kFailed));
  EXPECT_EQ(registry_.find("c").error().code, ErrorCode::kDoesNotFit);
}

TEST_F(RegistryMemory, AModelThatWasRefusedLoadsOnceThereIsRoom) {
  ledger_.set_cap("cpu0", kTaken);
  add("a");
  add("b");
  ASSERT_TRUE(comes_to(1, ModelState::kResting));
  pass(std::chrono::seconds(59));
  EXPECT_EQ(loads_, 2);
  set_cap(2 * kTaken);
  EXPECT_TRUE(comes_to(1, ModelState::kReady));
}

TEST_F(RegistryMemory, WhenALookIsOverNobodyFindsAModelThatMustLeave) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  for (int i = 0; i < 10; ++i) {
    set_cap(0);
    ASSERT_FALSE(registry_.find("a")) << i;
    set_cap(kTaken);
    ASSERT_TRUE(eventually([&] {
      clock_.advance(std::chrono::seconds(1));
      return registry_.find("a").has_value();
    }));
  }
}

TEST_F(RegistryMemory, IdleModelsLeaveAndLoadsAreGivenUpWhileAPauseLasts) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  add_while_paused("b");
  set_cap(0);
  ASSERT_TRUE(comes_to(0, ModelState::kUnloaded));
  ASSERT_TRUE(comes_to(1, ModelState::kUnloaded));
  ASSERT_TRUE(eventually([&] { return held() == 0; }));
  const auto refused = registry_.find("b");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("gave up loading: cpu0 holds"));
  EXPECT_EQ(factory_.counters().made, 1);
  governor_.resume(PauseReason::kOperator);
  set_cap(2 * kTaken);
  clock_.advance(std::chrono::seconds(1));
  EXPECT_TRUE(comes_to(0, ModelState::kReady));
  EXPECT_TRUE(comes_to(1, ModelState::kReady));
}

TEST_F(RegistryMemory, AModelThatLoadsGivesUpBeforeOneThatServesLeaves) {
  add("a");
  ASSERT_TRUE(comes_to(0, ModelState::kReady));
  add_while_paused("b");
  set_cap(kTaken);
  ASSERT_TRUE(comes_to(1, ModelState::kUnloaded));
  ASSERT_TRUE(eventually([&] { return held() == kTaken; }));
  EXPECT_TRUE(registry_.find("a"));
}

// A browser, say: no ledger sees what it holds, nor that it gives it back.
TEST_F(RegistryMemory, AModelForWhichOthersHeldTheMemoryIsTriedAgainEveryMinute) {
  std::atomic<bool> held_by_others = true;
  TextEngineOptions options = tiny_.options();
  add("a",
      [&, options](const LoadProgress& progress,
                   std::stop_token stop) -> Result<std::unique_ptr<TextEngine>> {
        if (held_by_others) return fail(ErrorCode::kExhausted, "others than GoGrid hold it");
        return TinyEngine::load(options, factory_, clock_, progress, stop);
      });
  ASSERT_TRUE(comes_to(0, ModelState::kFailed));
  for (int tries = 1; tries < 4; ++tries) {
    pass(std::chrono::seconds(59));
    EXPECT_EQ(loads_, tries);
    clock_.advance(std::chrono::seconds(1));
    ASSERT_TRUE(eventually([&] { return loads_ == tries + 1; }));
    ASSERT_TRUE(comes_to(0, ModelState::kFailed));
  }
  held_by_others = false;
  clock_.advance(std::chrono::minutes(1));
  EXPECT_TRUE(comes_to(0, ModelState::kReady));
}

// Both take their lease, more than planned when loaded, and give it all back: no room has grown.
TEST_F(RegistryMemory, TwoModelsThatAreRefusedAfterTheirLeaseDoNotWakeEachOther) {
  ledger_.set_cap("cpu0", kTaken + 50);
  const MemoryRequest other{"cpu0", MemoryUse::kCache, "somebody else", 100};
  const auto lease = ledger_.acquire({&other, 1});
  ASSERT_TRUE(lease);
  add("a", 500);
  add("b", 500);
  ASSERT_TRUE(comes_to(1, ModelState::kFailed));
  EXPECT_EQ(registry_.find("a").error().code, ErrorCode::kExhausted);
  for (int second = 0; second < 4; ++second) pass(std::chrono::seconds(1));
  EXPECT_EQ(loads_, 2);
  // Each try costs the reading of all weights.
  clock_.advance(std::chrono::seconds(56));
  ASSERT_TRUE(eventually([&] { return loads_ == 4; }));
  ASSERT_TRUE(comes_to(1, ModelState::kFailed));
  pass(std::chrono::seconds(119));
  EXPECT_EQ(loads_, 4);
}

}  // namespace
}  // namespace gogrid

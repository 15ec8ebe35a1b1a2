#include "engine/memory_pressure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr Activity kLoading = Activity::kLoading;
constexpr Activity kIdle = Activity::kIdle;
constexpr Activity kBusy = Activity::kBusy;

DeviceMemory device(const std::string& id, Bytes cap,
                    const std::vector<std::pair<std::string, Bytes>>& holders) {
  DeviceMemory memory{id, cap, 0, {}};
  for (const auto& [holder, bytes] : holders) {
    memory.held += bytes;
    memory.holders.push_back({MemoryUse::kWeights, holder, bytes});
  }
  return memory;
}

std::vector<std::string> leaving(const std::vector<DeviceMemory>& ledger,
                                 const std::vector<MemoryUser>& models) {
  return choose_leaving(ledger, models);
}

TEST(MemoryPressure, NobodyLeavesWhereNothingIsOver) {
  EXPECT_THAT(leaving({device("a", 100, {{"x", 100}})}, {{"x", kIdle}}), IsEmpty());
  EXPECT_EQ(excess_text(std::vector{device("a", 100, {{"x", 100}})}), "");
}

TEST(MemoryPressure, IdleModelsLeaveBeforeBusyOnes) {
  const auto ledger = device("a", 100, {{"busy", 60}, {"idle", 60}});
  EXPECT_THAT(leaving({ledger}, {{"busy", kBusy}, {"idle", kIdle}}), ElementsAre("idle"));
}

TEST(MemoryPressure, AModelThatLoadsGivesUpBeforeOneThatServesAlsoWhereThatIsNotEnough) {
  const auto ledger = device("a", 100, {{"idle", 60}, {"loads", 60}});
  EXPECT_THAT(leaving({ledger}, {{"idle", kIdle}, {"loads", kLoading}}), ElementsAre("loads"));
  const auto less = device("a", 50, {{"idle", 60}, {"loads", 60}});
  EXPECT_THAT(leaving({less}, {{"idle", kIdle}, {"loads", kLoading}}),
              UnorderedElementsAre("idle", "loads"));
}

TEST(MemoryPressure, TheSmallestThatIsEnoughLeavesAlone) {
  const auto ledger = device("a", 100, {{"large", 90}, {"fits", 40}, {"small", 5}});
  EXPECT_THAT(leaving({ledger}, {{"large", kIdle}, {"fits", kIdle}, {"small", kIdle}}),
              ElementsAre("fits"));
}

TEST(MemoryPressure, WhereNoneIsEnoughTheLargestGoesFirstAndBusyOnesLast) {
  const auto ledger = device("a", 10, {{"x", 30}, {"y", 50}, {"z", 20}, {"b", 40}});
  EXPECT_THAT(leaving({ledger}, {{"x", kIdle}, {"y", kIdle}, {"z", kIdle}, {"b", kBusy}}),
              UnorderedElementsAre("x", "y", "z", "b"));
  const auto more = device("a", 60, {{"x", 30}, {"y", 50}, {"z", 20}, {"b", 40}});
  EXPECT_THAT(leaving({more}, {{"x", kIdle}, {"y", kIdle}, {"z", kIdle}, {"b", kBusy}}),
              UnorderedElementsAre("y", "x"));
}

TEST(MemoryPressure, WhatLeavesOneDeviceCountsOnTheOthers) {
  const std::vector ledger{device("a", 90, {{"x", 50}, {"y", 50}}),
                           device("b", 10, {{"x", 50}, {"z", 10}})};
  EXPECT_THAT(leaving(ledger, {{"x", kIdle}, {"y", kIdle}, {"z", kIdle}}), ElementsAre("x"));
}

TEST(MemoryPressure, WhatNoModelHoldsNobodyCanGiveBack) {
  EXPECT_THAT(leaving({device("a", 10, {{"measuring x", 50}})}, {{"x", kIdle}}), IsEmpty());
}

TEST(MemoryPressure, IsToldInNumbers) {
  EXPECT_EQ(excess_text(std::vector{device("a", 100, {{"x", 90}, {"y", 60}})}),
            "a holds 150 B, cap 100 B: 50 B over");
}

}  // namespace
}  // namespace gogrid

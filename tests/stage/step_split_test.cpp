#include "stage/step_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

namespace gogrid {
namespace {

using ::testing::ElementsAre;

using Calls = std::vector<std::vector<std::uint32_t>>;

// `count` rows of each slot, in the order given; the last of each wants an output.
std::vector<StepRow> rows_of(const std::vector<std::pair<SlotId, int>>& slots) {
  std::vector<StepRow> rows;
  for (const auto& [slot, count] : slots) {
    for (int i = 0; i < count; ++i) rows.push_back({slot, i, 0, i + 1 == count});
  }
  return rows;
}

SplitLimits streams() { return {.max_rows = 64, .max_outputs = 16, .equal_rows = true}; }
SplitLimits pool() { return {.max_rows = 64, .max_outputs = 16, .equal_rows = false}; }

TEST(StepSplit, OfNothingIsNothing) {
  EXPECT_TRUE(split_step({}, streams()).empty());
  EXPECT_TRUE(split_step({}, pool()).empty());
}

TEST(StepSplit, OneRowOfEachNeighbouringSlotIsOneCall) {
  EXPECT_EQ(split_step(rows_of({{2, 1}, {0, 1}, {1, 1}}), streams()), (Calls{{1, 2, 0}}));
}

TEST(StepSplit, AHoleBetweenSlotsStartsAnotherCall) {
  EXPECT_EQ(split_step(rows_of({{0, 1}, {1, 1}, {3, 1}, {4, 1}}), streams()),
            (Calls{{0, 1}, {2, 3}}));
}

TEST(StepSplit, APoolTakesTheRowsAsTheyCome) {
  EXPECT_EQ(split_step(rows_of({{7, 2}, {0, 1}, {3, 1}}), pool()), (Calls{{0, 1, 2, 3}}));
}

TEST(StepSplit, DecodesGoWithTheFirstRowOfAPrefill) {
  EXPECT_EQ(split_step(rows_of({{0, 1}, {1, 4}, {2, 1}}), streams()),
            (Calls{{0, 1, 5}, {2, 3, 4}}));
}

TEST(StepSplit, TwoPrefillsShareCalls) {
  EXPECT_EQ(split_step(rows_of({{0, 2}, {1, 3}}), streams()), (Calls{{0, 1, 2, 3}, {4}}));
}

TEST(StepSplit, NoCallIsLongerThanItsLimit) {
  const auto rows = rows_of({{0, 150}});
  for (const auto& limits : {streams(), pool()}) {
    const Calls calls = split_step(rows, limits);
    ASSERT_EQ(calls.size(), 3U);
    EXPECT_EQ(calls[0].size(), 64U);
    EXPECT_EQ(calls[2].size(), 22U);
  }
}

TEST(StepSplit, NoCallWantsMoreOutputsThanItsLimit) {
  std::vector<StepRow> rows = rows_of({{0, 40}});
  for (StepRow& row : rows) row.wants_output = true;
  for (const auto& limits : {streams(), pool()}) {
    const Calls calls = split_step(rows, limits);
    ASSERT_EQ(calls.size(), 3U);
    EXPECT_EQ(calls[0].size(), 16U);
    EXPECT_EQ(calls[2].size(), 8U);
  }
}

TEST(StepSplit, MoreSlotsThanOutputsAreSeveralCalls) {
  std::vector<std::pair<SlotId, int>> slots;
  for (SlotId slot = 0; slot < 20; ++slot) slots.emplace_back(slot, 1);
  const Calls calls = split_step(rows_of(slots), streams());
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(calls[0].size(), 16U);
}

// Random steps: every row once; a slot's rows in order; each call what libllama makes one
// micro-batch of.
TEST(StepSplit, HoldsItsPromisesForAnyStep) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::map<SlotId, int> next;
    std::vector<StepRow> rows;
    const auto count = random() % 90;
    const auto slots = 1 + random() % 12;
    for (std::size_t i = 0; i < count; ++i) {
      const auto slot = static_cast<SlotId>(random() % slots);
      rows.push_back({slot, next[slot]++, 0, random() % 3 == 0});
    }
    const SplitLimits limits{.max_rows = static_cast<std::uint32_t>(1 + random() % 40),
                             .max_outputs = static_cast<std::uint32_t>(1 + random() % 20),
                             .equal_rows = random() % 2 == 0};
    std::map<SlotId, int> done;
    std::size_t seen = 0;
    for (const auto& call : split_step(rows, limits)) {
      ASSERT_FALSE(call.empty());
      ASSERT_LE(call.size(), limits.max_rows);
      std::map<SlotId, std::size_t> per_slot;
      std::size_t outputs = 0;
      for (const std::uint32_t index : call) {
        const StepRow& row = rows.at(index);
        ASSERT_EQ(row.position, done[row.slot]++) << "a slot's rows in order, each once";
        ++per_slot[row.slot];
        outputs += row.wants_output ? 1 : 0;
        ++seen;
      }
      ASSERT_LE(outputs, limits.max_outputs);
      if (!limits.equal_rows) continue;
      const auto [first, depth] = *per_slot.begin();
      ASSERT_EQ(per_slot.rbegin()->first - first, static_cast<SlotId>(per_slot.size()) - 1);
      for (std::size_t i = 0; i < call.size(); ++i) {  // depth rows of each slot, slot by slot
        ASSERT_EQ(rows[call[i]].slot, first + static_cast<SlotId>(i / depth));
      }
    }
    ASSERT_EQ(seen, rows.size());
  }
}

}  // namespace
}  // namespace gogrid

#include "batching/batch_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr BatchLimits kLimits{.max_step_rows = 64, .prefill_chunk = 16, .groups = 1, .parallel = 8};

SequenceView decoding(SlotId slot, std::int32_t known = 10) {
  return {.slot = slot,
          .computed = known - 1,
          .known = known,
          .arrival = static_cast<std::uint64_t>(slot) + 1,
          .last_step = 1};
}
SequenceView prefilling(SlotId slot, std::int32_t known, std::int32_t computed = 0) {
  return {.slot = slot,
          .computed = computed,
          .known = known,
          .arrival = static_cast<std::uint64_t>(slot) + 1};
}

// All its rows are in a step.
SequenceView in_flight(SequenceView view) {
  view.computed = view.known;
  view.in_flight = true;
  return view;
}

// (slot, first, count, wants_output) of each.
struct Rows {
  SlotId slot;
  std::int32_t first;
  std::int32_t count;
  bool wants_output;
  bool operator==(const Rows&) const = default;
  friend void PrintTo(const Rows& rows, std::ostream* out) {
    *out << "slot " << rows.slot << ": " << rows.first << "+" << rows.count
         << (rows.wants_output ? " output" : "");
  }
};

std::vector<Rows> plan(const std::vector<SequenceView>& sequences,
                       const BatchLimits& limits = kLimits, std::uint32_t group = 0) {
  std::vector<Rows> result;
  for (const PlannedRows& rows : plan_step(sequences, limits, group).rows) {
    result.push_back({sequences[rows.sequence].slot, rows.first, rows.count, rows.wants_output});
  }
  return result;
}

TEST(BatchPlanner, PlansNothingForNobody) { EXPECT_THAT(plan({}), IsEmpty()); }

TEST(BatchPlanner, GivesEachDecodingSequenceOneRow) {
  EXPECT_THAT(plan({decoding(0), decoding(1, 20)}),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 19, 1, true}));
}

TEST(BatchPlanner, ComputesAPromptWholeWhenNobodyDecodes) {
  EXPECT_THAT(plan({prefilling(0, 50)}), ElementsAre(Rows{0, 0, 50, true}));
}

TEST(BatchPlanner, CutsAPromptAtTheStepsRows) {
  EXPECT_THAT(plan({prefilling(0, 100)}), ElementsAre(Rows{0, 0, 64, false}));
  EXPECT_THAT(plan({prefilling(0, 100, 64)}), ElementsAre(Rows{0, 64, 36, true}));
}

TEST(BatchPlanner, CutsAPromptAtTheChunkWhileAnotherDecodes) {
  EXPECT_THAT(plan({decoding(0), prefilling(1, 50)}),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 16, false}));
}

TEST(BatchPlanner, CutsAPromptAtTheChunkAlsoWhenTheDecodingOneIsInFlight) {
  EXPECT_THAT(plan({prefilling(0, 50), in_flight(decoding(7))}),
              ElementsAre(Rows{0, 0, 16, false}));
}

TEST(BatchPlanner, ComputesAPromptWholeWhenTheDecodingOneIsHeld) {
  auto held = decoding(1);
  held.held = true;
  EXPECT_THAT(plan({prefilling(0, 50), held}), ElementsAre(Rows{0, 0, 50, true}));
}

TEST(BatchPlanner, CutsAPromptAtTheChunkWhereSeveralStepsFollowEachOther) {
  BatchLimits limits = kLimits;
  limits.groups = 2;
  EXPECT_THAT(plan({prefilling(0, 50)}, limits), ElementsAre(Rows{0, 0, 16, false}));
}

TEST(BatchPlanner, SendsTheNextChunkBehindTheLast) {
  auto view = prefilling(0, 50, 16);
  view.in_flight = true;
  EXPECT_THAT(plan({view}), ElementsAre(Rows{0, 16, 34, true}));
}

TEST(BatchPlanner, ContinuesWhereAPromptWasCut) {
  EXPECT_THAT(plan({decoding(0), prefilling(1, 50, 48)}),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 48, 2, true}));
}

TEST(BatchPlanner, FillsTheChunkWithTheOldestFirst) {
  auto younger = prefilling(0, 40);
  younger.arrival = 9;
  EXPECT_THAT(plan({decoding(5), younger, prefilling(1, 10)}),
              ElementsAre(Rows{0, 0, 6, false}, Rows{1, 0, 10, true}, Rows{5, 9, 1, true}));
}

TEST(BatchPlanner, LetsAShortPromptPassALongOne) {
  EXPECT_THAT(plan({decoding(0), prefilling(1, 400), prefilling(2, 4)}),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 12, false}, Rows{2, 0, 4, true}));
}

TEST(BatchPlanner, LetsShortPromptsTakeHalfTheChunkAtMost) {
  std::vector<SequenceView> sequences{decoding(0), prefilling(1, 400)};
  for (SlotId slot = 2; slot < 8; ++slot) sequences.push_back(prefilling(slot, 4));
  EXPECT_THAT(plan(sequences), ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 8, false},
                                           Rows{2, 0, 4, true}, Rows{3, 0, 4, true}));
}

BatchLimits with_tiles() {
  BatchLimits limits = kLimits;
  limits.tile = 12;
  return limits;
}

TEST(BatchPlanner, LeavesATileToTheLongPromptThatShortOnesPass) {
  const auto sequences = {decoding(0), prefilling(1, 400), prefilling(2, 4), prefilling(3, 4)};
  EXPECT_THAT(plan(sequences, with_tiles()), ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 12, false},
                                                         Rows{2, 0, 4, true}, Rows{3, 0, 4, true}));
  BatchLimits narrow = with_tiles();
  narrow.max_step_rows = 19;
  EXPECT_THAT(plan(sequences, narrow), ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 10, false},
                                                   Rows{2, 0, 4, true}, Rows{3, 0, 4, true}));
}

TEST(BatchPlanner, BeginsAPromptWithATileOrNotInThisStep) {
  EXPECT_THAT(plan({decoding(0), prefilling(1, 9), prefilling(2, 90)}, with_tiles()),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 9, true}, Rows{2, 0, 12, false}));
  EXPECT_THAT(plan({decoding(0), prefilling(1, 12), prefilling(2, 90)}, with_tiles()),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 12, true}));
}

TEST(BatchPlanner, LeavesAloneWhoIsInFlightHeldOrHasNothingToDo) {
  auto held = decoding(1);
  held.held = true;
  auto idle = decoding(2);
  idle.computed = idle.known;
  EXPECT_THAT(plan({in_flight(decoding(0)), held, idle}), IsEmpty());
}

TEST(BatchPlanner, OrdersRowsBySlot) {
  EXPECT_THAT(plan({decoding(3), decoding(0), prefilling(1, 5)}),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 5, true}, Rows{3, 9, 1, true}));
}

TEST(BatchPlanner, TakesThoseServedLongestAgoWhereTheBatchIsSmall) {
  std::vector<SequenceView> sequences{decoding(0), decoding(1), decoding(2), decoding(3)};
  sequences[0].last_step = 7;
  sequences[1].last_step = 5;
  sequences[2].last_step = 6;
  sequences[3].last_step = 4;
  BatchLimits limits = kLimits;
  limits.max_batch = 2;
  EXPECT_THAT(plan(sequences, limits), ElementsAre(Rows{1, 9, 1, true}, Rows{3, 9, 1, true}));
}

TEST(BatchPlanner, GivesANewPromptAPlaceInASmallBatch) {
  BatchLimits limits = kLimits;
  limits.max_batch = 1;
  EXPECT_THAT(plan({decoding(0), decoding(1), prefilling(2, 5)}, limits),
              ElementsAre(Rows{2, 0, 5, true}));
}

TEST(BatchPlanner, KeepsARowForAPromptWhenDecodingFillsTheStep) {
  BatchLimits limits = kLimits;
  limits.max_step_rows = 3;
  const auto rows = plan({decoding(0), decoding(1), decoding(2), prefilling(3, 5)}, limits);
  EXPECT_THAT(rows, ElementsAre(Rows{0, 9, 1, true}, Rows{1, 9, 1, true}, Rows{3, 0, 1, false}));
}

TEST(BatchPlanner, RunsWithOneRowAStep) {
  BatchLimits limits = kLimits;
  limits.max_step_rows = 1;
  limits.prefill_chunk = 1;
  EXPECT_THAT(plan({prefilling(0, 5)}, limits), ElementsAre(Rows{0, 0, 1, false}));
  EXPECT_THAT(plan({decoding(0)}, limits), ElementsAre(Rows{0, 9, 1, true}));
  EXPECT_EQ(plan({decoding(0), prefilling(1, 5)}, limits).size(), 1U);
}

TEST(BatchPlanner, TakesNoMoreCellsThanAreFree) {
  BatchLimits limits = kLimits;
  limits.free_cells = 5;
  EXPECT_THAT(plan({decoding(0), prefilling(1, 50)}, limits),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 0, 4, false}));
  limits.free_cells = 0;
  EXPECT_THAT(plan({decoding(0)}, limits), IsEmpty());
}

TEST(BatchPlanner, TakesOnlySequencesOfTheGroup) {
  BatchLimits limits = kLimits;
  limits.groups = 2;
  const std::vector<SequenceView> sequences{decoding(0), decoding(3), decoding(4), decoding(7)};
  EXPECT_THAT(plan(sequences, limits, 0), ElementsAre(Rows{0, 9, 1, true}, Rows{3, 9, 1, true}));
  EXPECT_THAT(plan(sequences, limits, 1), ElementsAre(Rows{4, 9, 1, true}, Rows{7, 9, 1, true}));
}

TEST(BatchPlanner, GivesEachGroupARangeOfSlotsOfItsOwn) {
  for (std::uint32_t parallel = 1; parallel <= 12; ++parallel) {
    for (std::uint32_t groups = 1; groups <= parallel; ++groups) {
      const BatchLimits limits{.groups = groups, .parallel = parallel};
      std::vector<std::uint32_t> sizes(groups, 0);
      std::uint32_t last = 0;
      for (std::uint32_t slot = 0; slot < parallel; ++slot) {
        const auto group = group_of(static_cast<SlotId>(slot), limits);
        ASSERT_LT(group, groups);
        ASSERT_GE(group, last);
        last = group;
        ++sizes[group];
      }
      const auto [least, most] = std::ranges::minmax(sizes);
      EXPECT_LE(most - least, 1U);
    }
  }
}

TEST(BatchPlanner, TakesGroupsInTurn) {
  BatchLimits limits = kLimits;
  limits.groups = 4;
  const std::vector<SequenceView> sequences{decoding(0), decoding(2), decoding(6)};
  EXPECT_EQ(next_group(sequences, limits, 0), 1U);
  EXPECT_EQ(next_group(sequences, limits, 1), 3U);  // nobody in group 2
  EXPECT_EQ(next_group(sequences, limits, 3), 0U);
}

TEST(BatchPlanner, PrefersAGroupWithoutAStepInFlight) {
  BatchLimits limits = kLimits;
  limits.groups = 2;
  const std::vector<SequenceView> sequences{in_flight(decoding(0)), decoding(1), decoding(4)};
  EXPECT_EQ(next_group(sequences, limits, 1), 1U);
  EXPECT_EQ(next_group(sequences, limits, 0), 1U);
}

TEST(BatchPlanner, SendsAGroupTwiceBeforeAStageIsIdle) {
  BatchLimits limits = kLimits;
  limits.groups = 2;
  const std::vector<SequenceView> sequences{in_flight(decoding(0)), prefilling(1, 50),
                                            in_flight(decoding(4))};
  EXPECT_EQ(next_group(sequences, limits, 0), 0U);
  EXPECT_EQ(next_group(std::vector{in_flight(decoding(0)), in_flight(decoding(4))}, limits, 0),
            std::nullopt);
}

// ---- what holds for every plan

struct World {
  BatchLimits limits;
  std::vector<SequenceView> sequences;
};

World random_world(std::mt19937& random) {
  World world;
  auto& limits = world.limits;
  limits.max_step_rows = static_cast<std::uint32_t>(1 + random() % 64);
  limits.prefill_chunk = static_cast<std::uint32_t>(1 + random() % 32);
  limits.parallel = static_cast<std::uint32_t>(1 + random() % 12);
  limits.groups = static_cast<std::uint32_t>(1 + random() % limits.parallel);
  limits.max_batch = static_cast<std::uint32_t>(random() % 4);
  if (random() % 3 == 0) limits.free_cells = static_cast<std::uint32_t>(random() % 20);
  if (random() % 2 == 0) limits.tile = static_cast<std::uint32_t>(1 + random() % 24);
  if (random() % 2 == 0) limits.paced_chunk = static_cast<std::uint32_t>(1 + random() % 32);
  if (random() % 2 == 0) limits.paced_rest = static_cast<std::uint32_t>(1 + random() % 16);
  for (std::uint32_t slot = 0; slot < limits.parallel; ++slot) {
    if (random() % 4 == 0) continue;
    const auto known = static_cast<std::int32_t>(1 + random() % 100);
    const bool decodes = random() % 2 == 0;
    world.sequences.push_back(
        {.slot = static_cast<SlotId>(slot),
         .computed = decodes ? known - 1
                             : static_cast<std::int32_t>(random() % static_cast<unsigned>(known)),
         .known = known,
         .held = random() % 5 == 0,
         .arrival = random() % 1000,
         .last_step = random() % 100});
  }
  return world;
}

TEST(BatchPlanner, KnowsWhetherOnlyBeginnersWait) {
  const auto after = [](SequenceView view, std::uint32_t generated) {
    view.generated = generated;
    return view;
  };
  EXPECT_TRUE(only_beginners_wait({}));
  EXPECT_TRUE(only_beginners_wait(std::vector{after(decoding(0), 1), prefilling(1, 500)}));
  EXPECT_FALSE(only_beginners_wait(std::vector{after(decoding(0), 1), after(decoding(1), 100)}));
  EXPECT_FALSE(only_beginners_wait(std::vector{in_flight(after(decoding(1), 100))}));
  // A stream that computes its tokens again after it was pre-empted, and one whose reader is slow.
  EXPECT_TRUE(only_beginners_wait(std::vector{after(prefilling(0, 500), 100)}));
  SequenceView slow = after(decoding(0), 100);
  slow.held = true;
  EXPECT_TRUE(only_beginners_wait(std::vector{slow}));
}

TEST(BatchPlanner, GivesPromptsWithLessThanATileLeftFewRowsTogetherWhileOthersWait) {
  BatchLimits limits = kLimits;
  limits.prefill_chunk = 64;
  limits.tile = 20;
  limits.paced_rest = 8;
  EXPECT_THAT(plan({decoding(0), prefilling(1, 500, 490), prefilling(2, 500, 490)}, limits),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 490, 8, false}));
  EXPECT_THAT(plan({decoding(0), prefilling(1, 500, 470), prefilling(2, 500, 495)}, limits),
              ElementsAre(Rows{0, 9, 1, true}, Rows{1, 470, 30, true}, Rows{2, 495, 5, true}));
  EXPECT_THAT(plan({prefilling(1, 500, 490), prefilling(2, 500, 490)}, limits),
              ElementsAre(Rows{1, 490, 10, true}, Rows{2, 490, 10, true}));
}

TEST(BatchPlanner, KeepsItsPromisesInRandomWorlds) {
  std::mt19937 random(11);
  for (int round = 0; round < 20'000; ++round) {
    const World world = random_world(random);
    const auto& limits = world.limits;
    const auto group = static_cast<std::uint32_t>(random() % limits.groups);
    const StepPlan plan = plan_step(world.sequences, limits, group);
    std::set<std::size_t> seen;
    std::uint32_t rows = 0;
    std::uint32_t prefill_rows = 0;
    std::uint32_t rest_rows = 0;  // of prompts with less than a tile left
    SlotId last_slot = -1;
    for (const PlannedRows& planned : plan.rows) {
      const SequenceView& view = world.sequences[planned.sequence];
      ASSERT_TRUE(seen.insert(planned.sequence).second);
      ASSERT_TRUE(view.ready());
      ASSERT_EQ(group_of(view.slot, limits), group);
      ASSERT_GT(view.slot, last_slot);
      last_slot = view.slot;
      ASSERT_EQ(planned.first, view.computed);
      ASSERT_GE(planned.count, 1);
      ASSERT_LE(planned.first + planned.count, view.known);
      ASSERT_EQ(planned.wants_output, planned.first + planned.count == view.known);
      rows += static_cast<std::uint32_t>(planned.count);
      if (view.decodes()) continue;
      prefill_rows += static_cast<std::uint32_t>(planned.count);
      const bool is_rest = view.known - view.computed < static_cast<std::int32_t>(limits.tile);
      if (is_rest) rest_rows += static_cast<std::uint32_t>(planned.count);
    }
    ASSERT_LE(rows, limits.max_step_rows);
    ASSERT_LE(rows, limits.free_cells);
    ASSERT_TRUE(limits.max_batch == 0 || plan.rows.size() <= limits.max_batch);
    const bool decoding_somewhere = std::ranges::any_of(
        world.sequences, [](const SequenceView& v) { return v.decodes() && !v.held; });
    const bool in_chunks = decoding_somewhere || limits.groups > 1;
    const std::uint32_t chunk = decoding_somewhere
                                    ? std::min(limits.prefill_chunk, limits.paced_chunk)
                                    : limits.prefill_chunk;
    // Half as large again for a tile, where there are tiles.
    const std::uint32_t most = limits.tile > 0 ? chunk + chunk / 2 : chunk;
    ASSERT_TRUE(!in_chunks || prefill_rows <= most);
    ASSERT_TRUE(!decoding_somewhere || rest_rows <= limits.paced_rest);
    const bool work =
        limits.free_cells > 0 && std::ranges::any_of(world.sequences, [&](const SequenceView& v) {
          return v.ready() && group_of(v.slot, limits) == group;
        });
    ASSERT_EQ(!plan.empty(), work);
  }
}

// Runs a world step by step until nobody has work.
TEST(BatchPlanner, EverybodyGetsToTheEndInRandomWorlds) {
  std::mt19937 random(12);
  for (int round = 0; round < 2000; ++round) {
    World world = random_world(random);
    auto& limits = world.limits;
    limits.free_cells = BatchLimits{}.free_cells;
    std::int64_t work = 0;
    for (SequenceView& view : world.sequences) {
      view.held = false;
      work += view.known - view.computed;
    }
    std::uint32_t last = 0;
    std::uint64_t step = 100;
    while (work > 0) {
      const auto group = next_group(world.sequences, limits, last);
      ASSERT_TRUE(group);
      last = *group;
      const StepPlan plan = plan_step(world.sequences, limits, *group);
      ASSERT_FALSE(plan.empty());
      ++step;
      for (const PlannedRows& rows : plan.rows) {
        world.sequences[rows.sequence].computed += rows.count;
        world.sequences[rows.sequence].last_step = step;
        work -= rows.count;
      }
    }
  }
}

// Streams that decode for ever beside prompts that come for ever: how long does each wait?
TEST(BatchPlanner, NobodyWaitsForLongInACrowd) {
  for (const std::uint32_t max_batch : {0U, 1U, 3U}) {
    for (const std::uint32_t max_step_rows : {2U, 8U, 64U}) {
      BatchLimits limits{.max_step_rows = max_step_rows,
                         .prefill_chunk = 16,
                         .parallel = 8,
                         .max_batch = max_batch};
      std::vector<SequenceView> sequences;
      for (SlotId slot = 0; slot < 5; ++slot) sequences.push_back(decoding(slot));
      for (SlotId slot = 5; slot < 8; ++slot) sequences.push_back(prefilling(slot, 40));
      std::uint64_t arrivals = 10;
      for (std::uint64_t step = 2; step < 500; ++step) {
        for (const PlannedRows& rows : plan_step(sequences, limits, 0).rows) {
          SequenceView& view = sequences[rows.sequence];
          const bool decodes = view.decodes();
          view.computed += rows.count;
          view.last_step = step;
          if (decodes && view.slot < 5) ++view.known;
          if (view.slot >= 5 && view.computed == view.known) {
            view.computed = 0;
            view.arrival = ++arrivals;
          }
        }
        for (const SequenceView& view : sequences) {
          // In a crowd of eight with one place a step, with prompts of 40 rows, one row at a time.
          const std::uint64_t patience = view.slot < 5 ? 8 : 400;
          ASSERT_LE(step - std::max<std::uint64_t>(view.last_step, 1), patience)
              << "slot " << view.slot << " max_batch " << max_batch << " rows " << max_step_rows;
        }
      }
    }
  }
}

}  // namespace
}  // namespace gogrid

#include "batching/slot_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace gogrid {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using Start = SlotTable::Start;

std::vector<Token> range(Token first, std::size_t count) {
  std::vector<Token> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}
std::vector<Token> operator+(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A sequence that ran in `slot` and has ended: its content stays.
void run(SlotTable& table, SlotId slot, const std::vector<Token>& tokens) {
  std::vector<KvOp> ops;
  table.occupy(slot);
  table.begin(slot, {slot, 0}, ops);
  table.append(slot, tokens);
  table.confirm(slot, static_cast<std::int32_t>(tokens.size()));
  table.release(slot);
}

TEST(CommonPrefix, CountsEqualTokensAtTheBeginning) {
  EXPECT_EQ(common_prefix(std::vector<Token>{}, std::vector<Token>{1}), 0);
  EXPECT_EQ(common_prefix(std::vector<Token>{1, 2, 3}, std::vector<Token>{1, 2, 4}), 2);
  EXPECT_EQ(common_prefix(std::vector<Token>{1, 2}, std::vector<Token>{1, 2, 4}), 2);
}

TEST(SlotTable, GivesTheLowestSlotsFirst) {
  SlotTable table({.parallel = 3});
  EXPECT_EQ(table.choose(range(1, 5)), 0);
  table.occupy(0);
  EXPECT_EQ(table.choose(range(1, 5)), 1);
  table.occupy(1);
  EXPECT_EQ(table.choose(range(1, 5)), 2);
  table.occupy(2);
  EXPECT_EQ(table.choose(range(1, 5)), std::nullopt);
  EXPECT_FALSE(table.any_idle());
}

TEST(SlotTable, SpreadsSequencesOverTheGroups) {
  SlotTable table({.parallel = 4, .groups = 2});
  std::vector<SlotId> given;
  for (int i = 0; i < 4; ++i) {
    given.push_back(*table.choose(range(1, 5)));
    table.occupy(given.back());
  }
  EXPECT_THAT(given, ::testing::ElementsAre(0, 2, 1, 3));
}

TEST(SlotTable, KeepsBusySlotsSideBySide) {
  SlotTable table({.parallel = 5});
  run(table, 1, range(1, 10));
  run(table, 2, range(1, 10));
  table.occupy(3);
  // 4 and 2 lie beside it; 4 is empty, so nothing is lost.
  EXPECT_EQ(table.choose(range(100, 5)), 4);
  SlotTable pool({.parallel = 5, .contiguous = false});
  pool.occupy(3);
  EXPECT_EQ(pool.choose(range(100, 5)), 0);
}

TEST(SlotTable, PrefersTheSlotThatHoldsThePrompt) {
  SlotTable table({.parallel = 3});
  run(table, 2, range(1, 50));
  EXPECT_EQ(table.choose(range(1, 60)), 2);
}

TEST(SlotTable, DoesNotWasteALongContentOnAShortPrefix) {
  SlotTable table({.parallel = 3});
  run(table, 0, range(1, 100));
  EXPECT_EQ(table.choose(range(1, 20) + range(500, 20)), 1);
}

TEST(SlotTable, TakesTheSlotUsedLongestAgo) {
  SlotTable table({.parallel = 3});
  run(table, 1, range(100, 10));
  run(table, 0, range(200, 10));
  run(table, 2, range(300, 10));
  EXPECT_EQ(table.choose(range(1, 5)), 1);
}

TEST(SlotTable, NeverReusesTheWholePrompt) {
  SlotTable table({.parallel = 1});
  run(table, 0, range(1, 50));
  table.occupy(0);
  EXPECT_EQ(table.best_start(0, range(1, 50)), (Start{0, 49}));
  EXPECT_EQ(table.best_start(0, range(1, 51)), (Start{0, 50}));
  EXPECT_EQ(table.best_start(0, range(1, 1)), (Start{0, 0}));
}

TEST(SlotTable, CopiesALongPrefixOfAnotherSlot) {
  SlotTable table({.parallel = 2, .min_copy = 10});
  run(table, 1, range(1, 50));
  table.occupy(0);
  EXPECT_EQ(table.best_start(0, range(1, 60)), (Start{1, 50}));
  std::vector<KvOp> ops;
  table.begin(0, {1, 50}, ops);
  ASSERT_THAT(ops, SizeIs(1));
  EXPECT_EQ(ops[0].kind, KvOp::Kind::kCopy);
  EXPECT_EQ(ops[0].slot, 0);
  EXPECT_EQ(ops[0].from, 1);
  EXPECT_EQ(ops[0].length, 50);
  EXPECT_THAT(table.content(0), SizeIs(50));
  EXPECT_THAT(table.content(1), SizeIs(50));
}

TEST(SlotTable, ComputesAgainWhatIsNotWorthACopy) {
  SlotTable table({.parallel = 2, .min_copy = 64});
  run(table, 0, range(1, 10));
  run(table, 1, range(1, 70));
  table.occupy(0);
  EXPECT_EQ(table.best_start(0, range(1, 80)), (Start{0, 10}));  // gains 60 rows
  EXPECT_EQ(table.best_start(0, range(5, 80)), (Start{0, 0}));
}

TEST(SlotTable, CopiesFromABusySlotOnlyWhatIsConfirmed) {
  SlotTable table({.parallel = 2, .min_copy = 1});
  std::vector<KvOp> ops;
  table.occupy(0);
  table.begin(0, {0, 0}, ops);
  table.append(0, range(1, 30));
  table.occupy(1);
  EXPECT_EQ(table.best_start(1, range(1, 60)), (Start{1, 0}));
  table.confirm(0, 30);
  table.append(0, range(31, 10));
  EXPECT_EQ(table.best_start(1, range(1, 60)), (Start{0, 30}));
}

TEST(SlotTable, DoesNotCopyACopyBeforeItIsConfirmed) {
  SlotTable table({.parallel = 3, .min_copy = 1});
  run(table, 0, range(1, 30));
  std::vector<KvOp> ops;
  table.occupy(1);
  table.begin(1, {0, 30}, ops);
  table.occupy(0);
  table.begin(0, {0, 0}, ops);  // the source is gone
  table.occupy(2);
  EXPECT_EQ(table.best_start(2, range(1, 60)), (Start{2, 0}));
}

TEST(SlotTable, AlwaysSaysHowMuchASlotKeeps) {
  SlotTable table({.parallel = 1});
  table.occupy(0);
  std::vector<KvOp> ops;
  table.begin(0, {0, 0}, ops);
  ASSERT_THAT(ops, SizeIs(1));
  EXPECT_EQ(ops[0].kind, KvOp::Kind::kTruncate);
  EXPECT_EQ(ops[0].length, 0);
}

TEST(SlotTable, ReusesNothingWhenToldSo) {
  SlotTable table({.parallel = 1, .reuse = false});
  run(table, 0, range(1, 50));
  table.occupy(0);
  EXPECT_EQ(table.best_start(0, range(1, 60)), (Start{0, 0}));
}

TEST(SlotTable, ReusesWholeContentsOnlyWhereTheyCannotBeCut) {
  SlotTable table({.parallel = 2, .can_truncate = false, .min_copy = 1});
  run(table, 0, range(1, 50));
  table.occupy(0);
  EXPECT_EQ(table.best_start(0, range(1, 60)), (Start{0, 50}));
  EXPECT_EQ(table.best_start(0, range(1, 50)), (Start{0, 0}));
  EXPECT_EQ(table.best_start(0, range(1, 40) + range(90, 10)), (Start{0, 0}));
}

TEST(SlotTable, CopiesNoBusySlotThatCannotBeCut) {
  SlotTable table({.parallel = 2, .can_truncate = false, .min_copy = 1});
  run(table, 0, range(1, 50));
  table.occupy(1);
  EXPECT_EQ(table.best_start(1, range(1, 60)), (Start{0, 50}));
  table.occupy(0);
  EXPECT_EQ(table.best_start(1, range(1, 60)), (Start{1, 0}));
}

TEST(SlotTable, MovesASequenceAndKeepsACopyWhereItWas) {
  SlotTable table({.parallel = 3});
  run(table, 2, range(1, 20));
  table.occupy(2);
  std::vector<KvOp> ops;
  table.move(2, 0, ops);
  ASSERT_THAT(ops, SizeIs(1));
  EXPECT_EQ(ops[0].kind, KvOp::Kind::kCopy);
  EXPECT_EQ(ops[0].slot, 0);
  EXPECT_EQ(ops[0].from, 2);
  EXPECT_EQ(ops[0].length, 20);
  EXPECT_TRUE(table.busy(0));
  EXPECT_FALSE(table.busy(2));
  EXPECT_THAT(table.content(0), SizeIs(20));
  table.occupy(1);
  EXPECT_EQ(table.best_start(1, range(1, 30)), (Start{1, 0}));  // 20 rows are no reason to copy
  EXPECT_EQ(table.best_start(2, range(1, 30)), (Start{2, 20}));
}

TEST(SlotTable, EmptiesASpoiltSlotOnce) {
  SlotTable table({.parallel = 2});
  run(table, 1, range(1, 50));
  table.spoil(1);
  EXPECT_THAT(table.content(1), IsEmpty());
  std::vector<KvOp> ops;
  table.take_cleaning(ops);
  ASSERT_THAT(ops, SizeIs(1));
  EXPECT_EQ(ops[0].slot, 1);
  EXPECT_EQ(ops[0].length, 0);
  ops.clear();
  table.take_cleaning(ops);
  EXPECT_THAT(ops, IsEmpty());
}

TEST(SlotTable, EvictsIdleSlotsOldestFirst) {
  SlotTable table({.parallel = 3});
  run(table, 2, range(1, 10));
  run(table, 0, range(1, 20));
  run(table, 1, range(1, 30));
  table.occupy(1);
  EXPECT_EQ(table.cells(), 60U);
  EXPECT_EQ(table.idle_cells(), 30U);
  std::vector<KvOp> ops;
  EXPECT_TRUE(table.evict_idle(ops));
  EXPECT_EQ(ops.back().slot, 2);
  EXPECT_TRUE(table.evict_idle(ops));
  EXPECT_EQ(ops.back().slot, 0);
  EXPECT_FALSE(table.evict_idle(ops));  // busy ones stay
  EXPECT_EQ(table.cells(), 30U);
}

// The table's idea of what the slots hold, against a model of what a stage makes of the operations.
TEST(SlotTable, KnowsWhatAStageHoldsAfterRandomOperations) {
  std::mt19937 random(13);
  for (const bool can_truncate : {true, false}) {
    for (int round = 0; round < 300; ++round) {
      const SlotOptions options{.parallel = static_cast<std::uint32_t>(1 + random() % 5),
                                .can_truncate = can_truncate,
                                .contiguous = random() % 2 == 0,
                                .min_copy = static_cast<std::int32_t>(1 + random() % 8)};
      SlotTable table(options);
      std::vector<std::vector<Token>> stage(options.parallel);
      const auto apply = [&](const std::vector<KvOp>& ops) {
        for (const KvOp& op : ops) {
          auto& slot = stage[static_cast<std::size_t>(op.slot)];
          const auto length = static_cast<std::size_t>(op.length);
          if (op.kind == KvOp::Kind::kCopy) {
            const auto& from = stage[static_cast<std::size_t>(op.from)];
            ASSERT_LE(length, from.size());
            ASSERT_TRUE(can_truncate || length == from.size());
            slot.assign(from.begin(), from.begin() + op.length);
          } else {
            ASSERT_TRUE(can_truncate || length == 0 || length == slot.size());
            slot.resize(std::min(slot.size(), length));
          }
        }
      };
      for (int i = 0; i < 60; ++i) {
        const auto prompt = range(1, random() % 20) +
                            range(static_cast<Token>(50 * (random() % 3)), 1 + random() % 10);
        const auto slot = table.choose(prompt);
        if (!slot) {
          for (SlotId s = 0; s < static_cast<SlotId>(options.parallel); ++s) {
            if (random() % 2 == 0 && table.busy(s)) table.release(s);
          }
          continue;
        }
        table.occupy(*slot);
        std::vector<KvOp> ops;
        if (random() % 6 == 0) table.evict_idle(ops);
        const Start start = table.best_start(*slot, prompt);
        ASSERT_LT(start.length, static_cast<std::int32_t>(prompt.size()));
        table.begin(*slot, start, ops);
        apply(ops);
        auto& held = stage[static_cast<std::size_t>(*slot)];
        ASSERT_EQ(held.size(), static_cast<std::size_t>(start.length));
        ASSERT_TRUE(std::ranges::equal(held, std::span(prompt).first(held.size())));
        const auto rest = std::span(prompt).subspan(held.size());
        held.insert(held.end(), rest.begin(), rest.end());
        table.append(*slot, rest);
        if (random() % 4 != 0) table.confirm(*slot, static_cast<std::int32_t>(prompt.size()));
        if (random() % 3 != 0) table.release(*slot);
        for (SlotId s = 0; s < static_cast<SlotId>(options.parallel); ++s) {
          ASSERT_TRUE(std::ranges::equal(table.content(s), stage[static_cast<std::size_t>(s)]));
        }
      }
    }
  }
}

}  // namespace
}  // namespace gogrid

#include "batching/slot_moves.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace gogrid {
namespace {

// '.' idle, 'r' runs, 'f' fixed, 'z' rests.
std::vector<SlotUse> slots(std::string_view text) {
  std::vector<SlotUse> result;
  for (const char c : text) {
    result.push_back(c == '.'   ? SlotUse::kIdle
                     : c == 'r' ? SlotUse::kRuns
                     : c == 'f' ? SlotUse::kFixed
                                : SlotUse::kRests);
  }
  return result;
}

TEST(SlotMoves, CountsRuns) {
  EXPECT_EQ(count_runs(slots("")), 0U);
  EXPECT_EQ(count_runs(slots("....")), 0U);
  EXPECT_EQ(count_runs(slots("rrfr")), 1U);
  EXPECT_EQ(count_runs(slots("r.rzr")), 3U);
}

TEST(SlotMoves, LeavesARunAlone) {
  EXPECT_EQ(find_move(slots("")), std::nullopt);
  EXPECT_EQ(find_move(slots("..r.")), std::nullopt);
  EXPECT_EQ(find_move(slots(".rrr..")), std::nullopt);
}

TEST(SlotMoves, FillsAGapFromTheEnd) {
  EXPECT_EQ(find_move(slots("r.rr")), (SlotMove{3, 1}));
  EXPECT_EQ(find_move(slots("rr.r")), (SlotMove{3, 2}));
  EXPECT_EQ(find_move(slots("r..r")), (SlotMove{3, 1}));
  EXPECT_EQ(find_move(slots("r.r.r")), (SlotMove{4, 1}));
}

TEST(SlotMoves, MovesALoneOneToTheOthers) {
  EXPECT_EQ(find_move(slots("r..rrr")), (SlotMove{0, 2}));
}

TEST(SlotMoves, JoinsTwoRunsOneByOne) {
  EXPECT_EQ(find_move(slots("rr..rr")), (SlotMove{5, 2}));
  EXPECT_EQ(find_move(slots("rrr.r.")), (SlotMove{4, 3}));
}

TEST(SlotMoves, MovesOnlyWhoMayMoveAndOnlyToIdleSlots) {
  EXPECT_EQ(find_move(slots("f.f")), std::nullopt);
  EXPECT_EQ(find_move(slots("r.f")), (SlotMove{0, 1}));
  EXPECT_EQ(find_move(slots("rzr")), std::nullopt);
  EXPECT_EQ(find_move(slots("rzr.")), (SlotMove{0, 3}));
}

TEST(SlotMoves, MakesOneRunOfWhateverMayMoveInFewMoves) {
  std::mt19937 random(21);
  for (int round = 0; round < 5000; ++round) {
    std::vector<SlotUse> use(1 + random() % 16);
    for (SlotUse& u : use) u = random() % 2 == 0 ? SlotUse::kRuns : SlotUse::kIdle;
    std::size_t moves = 0;
    while (const auto move = find_move(use)) {
      auto& from = use.at(static_cast<std::size_t>(move->from));
      auto& to = use.at(static_cast<std::size_t>(move->to));
      ASSERT_EQ(from, SlotUse::kRuns);
      ASSERT_EQ(to, SlotUse::kIdle);
      std::swap(from, to);
      ASSERT_LE(++moves, use.size() / 2);
    }
    ASSERT_LE(count_runs(use), 1U);
  }
}

}  // namespace
}  // namespace gogrid

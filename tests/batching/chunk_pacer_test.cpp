#include "batching/chunk_pacer.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

using namespace std::chrono_literals;

// What rows cost on a device where a tile is cheaper than a few, and deep rows dearer.
Duration cost(std::uint32_t rows, std::int32_t depth, Duration shallow_row) {
  const Duration row = shallow_row * (1 + depth / 1024);
  return rows * (rows < ChunkPacer::kTile ? row * 5 / 2 : row);
}

TEST(ChunkPacer, BeginsWithATile) {
  EXPECT_EQ(ChunkPacer(256, 250ms).rows(0), ChunkPacer::kTile);
  EXPECT_EQ(ChunkPacer(32, 250ms).rows(0), 32U);
}

TEST(ChunkPacer, LetsWholeTilesThroughThatAreComputedInTime) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(200, 0, 300ms);  // 166 rows in 250 ms
  EXPECT_EQ(pacer.rows(0), 129U);
  pacer.took(200, 0, 500ms);  // 125, by both
  EXPECT_EQ(pacer.rows(0), 65U);
  pacer.took(256, 5000, 50ms);
  EXPECT_EQ(pacer.rows(5000), 256U);
}

TEST(ChunkPacer, FollowsRowsThatBecomeSlowerAndRowsThatBecomeFaster) {
  ChunkPacer pacer(256, 250ms);
  for (int i = 0; i < 20; ++i) pacer.took(128, 0, 128 * 3ms);
  EXPECT_EQ(pacer.rows(0), 65U);
  for (int i = 0; i < 40; ++i) pacer.took(pacer.rows(0), 0, pacer.rows(0) * 1ms);
  EXPECT_EQ(pacer.rows(0), 193U);
}

TEST(ChunkPacer, KnowsThatDeepRowsCostMore) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(100, 0, 100 * 1ms);
  pacer.took(100, 5000, 100 * 3ms);
  EXPECT_EQ(pacer.rows(0), 193U);
  EXPECT_EQ(pacer.rows(3000), 193U);  // not measured: what it is at least
  EXPECT_EQ(pacer.rows(5000), 65U);
}

TEST(ChunkPacer, ExpectsRowsToGrowDearerAsTheyDid) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(65, 500, 65 * 4ms);
  pacer.took(65, 1500, 65 * 6500us);
  EXPECT_EQ(pacer.rows(1500), 65U);
  EXPECT_LT(pacer.rows(4000), 65U);  // a tile would take 0.8 s
  EXPECT_GE(pacer.rows(2'000'000'000), ChunkPacer::kLeast);
  pacer.took(65, 4000, 65 * 7ms);
  EXPECT_EQ(pacer.rows(4000), 65U);
}

TEST(ChunkPacer, NeverGoesBelowTheLeastNorAboveTheMost) {
  ChunkPacer pacer(256, 250ms);
  for (int i = 0; i < 10; ++i) pacer.took(pacer.rows(0), 0, pacer.rows(0) * 1min);
  EXPECT_EQ(pacer.rows(0), ChunkPacer::kLeast);
  for (int i = 0; i < 100; ++i) pacer.took(256, 0, 1us);
  EXPECT_EQ(pacer.rows(0), 256U);
  ChunkPacer tight(8, 250ms);
  tight.took(100, 0, 1h);
  EXPECT_EQ(tight.rows(0), 8U);
}

TEST(ChunkPacer, LetsMoreThroughWhereWhoWaitsIsPatient) {
  ChunkPacer pacer(256, 250ms);
  EXPECT_EQ(pacer.rows(0, 3), ChunkPacer::kTile);
  pacer.took(65, 0, 65 * 3ms);
  EXPECT_EQ(pacer.rows(0), 65U);
  EXPECT_EQ(pacer.rows(0, 3), 193U);  // 579 ms
  pacer.took(65, 0, 65 * 1ms);
  EXPECT_EQ(pacer.rows(0, 3), 256U);
  EXPECT_EQ(ChunkPacer(64, 250ms).rows(0, 3), 64U);
}

TEST(ChunkPacer, LearnsFromShortPromptsToo) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(50, 0, 50 * 1ms);
  EXPECT_EQ(pacer.rows(0), 193U);
}

TEST(ChunkPacer, LetsFewRowsOfARestThroughWhereTheyAreDear) {
  ChunkPacer pacer(256, 250ms);
  EXPECT_EQ(pacer.rest(0), 256U);  // nothing is known
  pacer.took(50, 0, 50 * 1ms);     // says little about deep rows
  pacer.took(65, 2400, 65 * 7500us);
  EXPECT_EQ(pacer.rows(2400), 65U);
  EXPECT_EQ(pacer.rest(2400), 16U);  // as if twice as dear, until it is measured
  pacer.took(30, 2400, 30 * 10ms);
  EXPECT_EQ(pacer.rest(2400), 25U);
  EXPECT_EQ(pacer.rest(2400, 3), 75U);
}

TEST(ChunkPacer, PacesStepsThatNeverHoldATile) {
  ChunkPacer pacer(64, 250ms);
  EXPECT_EQ(pacer.rows(0), 64U);
  pacer.took(64, 0, 64 * 10ms);
  EXPECT_EQ(pacer.rows(0), 25U);
  for (int i = 0; i < 20; ++i) pacer.took(pacer.rows(0), 0, pacer.rows(0) * 1ms);
  EXPECT_EQ(pacer.rows(0), 64U);
}

TEST(ChunkPacer, KeepsToTilesWhereAFewRowsWouldHardlyBeSooner) {
  ChunkPacer pacer(256, 250ms);
  std::uint32_t rows = pacer.rows(0);
  for (int i = 0; i < 20; ++i) {
    pacer.took(rows, 0, cost(rows, 0, 10ms));  // a tile: 650 ms
    rows = pacer.rows(0);
    EXPECT_GE(rows, ChunkPacer::kTile);
  }
}

TEST(ChunkPacer, TakesAFewRowsWhereATileIsFarTooSlow) {
  ChunkPacer pacer(256, 250ms);
  std::uint32_t rows = pacer.rows(0);
  for (int i = 0; i < 20; ++i) {
    pacer.took(rows, 0, rows * 60ms);  // a large model: rows cost the same
    rows = pacer.rows(0);
  }
  EXPECT_EQ(rows, ChunkPacer::kLeast);
}

TEST(ChunkPacer, TriesTilesAgainWhenASlowMomentIsOver) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(256, 0, 256 * 60ms);
  std::uint32_t rows = pacer.rows(0);
  EXPECT_LT(rows, ChunkPacer::kTile);
  for (int i = 0; i < 20; ++i) {
    pacer.took(rows, 0, cost(rows, 0, 1ms));
    rows = pacer.rows(0);
  }
  EXPECT_EQ(rows, 193U);
}

TEST(ChunkPacer, DoesNotJudgeRowsByStepsThatCarryFew) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(100, 0, 100ms);
  pacer.took(4, 0, 400ms);
  EXPECT_EQ(pacer.rows(0), 193U);
}

}  // namespace
}  // namespace gogrid

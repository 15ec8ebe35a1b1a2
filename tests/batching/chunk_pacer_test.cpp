#include "batching/chunk_pacer.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

using namespace std::chrono_literals;

TEST(ChunkPacer, BeginsWithTheMost) { EXPECT_EQ(ChunkPacer(256, 250ms).rows(), 256U); }

TEST(ChunkPacer, LetsThroughWhatIsComputedInTime) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(100, 500ms);
  EXPECT_EQ(pacer.rows(), 50U);
}

TEST(ChunkPacer, FollowsRowsThatBecomeSlowerAndRowsThatBecomeFaster) {
  ChunkPacer pacer(256, 250ms);
  for (int i = 0; i < 20; ++i) pacer.took(64, 64 * 10ms);
  EXPECT_EQ(pacer.rows(), 25U);
  for (int i = 0; i < 40; ++i) pacer.took(pacer.rows(), pacer.rows() * 2ms);
  EXPECT_NEAR(pacer.rows(), 125U, 1);
}

TEST(ChunkPacer, NeverGoesBelowTheLeastNorAboveTheMost) {
  ChunkPacer pacer(256, 250ms);
  for (int i = 0; i < 10; ++i) pacer.took(16, 1h);
  EXPECT_EQ(pacer.rows(), ChunkPacer::kLeast);
  for (int i = 0; i < 100; ++i) pacer.took(256, 1us);
  EXPECT_EQ(pacer.rows(), 256U);
  ChunkPacer tight(8, 250ms);
  tight.took(16, 1h);
  EXPECT_EQ(tight.rows(), 8U);
}

TEST(ChunkPacer, DoesNotJudgeRowsByStepsThatCarryFew) {
  ChunkPacer pacer(256, 250ms);
  pacer.took(100, 500ms);
  pacer.took(4, 400ms);
  EXPECT_EQ(pacer.rows(), 50U);
}

}  // namespace
}  // namespace gogrid

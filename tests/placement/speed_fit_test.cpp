#include "placement/speed_fit.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

constexpr double kNear = 1e-9;

// A device that does exactly what the cost model says.
struct Ideal {
  double call = 0.2;
  Line layer{0.5, 0.05};
  Line head{2.0, 0.4};
  double prefill = 0.01;  // a row of a layer

  SliceTimings run(std::uint32_t layers, bool with_head) const {
    SliceTimings slice;
    slice.layers = layers;
    slice.head = with_head;
    const double fixed = call + layers * layer.fixed_ms + (with_head ? head.fixed_ms : 0);
    const double row = layers * layer.row_ms + (with_head ? head.row_ms : 0);
    for (const double rows : {1.0, 4.0, 16.0}) slice.decode.push_back({rows, fixed + row * rows});
    slice.prefill = {128,
                     call + layers * 128 * prefill + (with_head ? head.fixed_ms + head.row_ms : 0)};
    return slice;
  }
};

void expect_ideal(const Measured& measured, const Ideal& ideal) {
  DeviceBudget budget;
  set_speeds(measured, budget);
  EXPECT_NEAR(budget.call_ms, ideal.call, kNear);
  EXPECT_NEAR(budget.layer_read_ms, ideal.layer.fixed_ms, kNear);
  EXPECT_NEAR(budget.layer_row_ms, ideal.layer.row_ms, kNear);
  EXPECT_NEAR(budget.head_read_ms, ideal.head.fixed_ms, kNear);
  EXPECT_NEAR(budget.head_row_ms, ideal.head.row_ms, kNear);
  EXPECT_NEAR(budget.prefill_row_ms, ideal.prefill, kNear);
}

TEST(FitLine, FindsTheLineOfExactTimings) {
  const Line line = fit_line(std::vector<Timing>{{1, 3}, {4, 9}, {16, 33}});
  EXPECT_NEAR(line.fixed_ms, 1, kNear);
  EXPECT_NEAR(line.row_ms, 2, kNear);
}

TEST(FitLine, WeighsSmallBatchesLikeLargeOnes) {
  // Ten percent off at one row is worth as much as ten percent off at sixteen.
  const Line line = fit_line(std::vector<Timing>{{1, 11}, {16, 100}});
  EXPECT_NEAR(line.fixed_ms + line.row_ms, 11, kNear);
  EXPECT_NEAR(line.fixed_ms + 16 * line.row_ms, 100, kNear);
}

TEST(FitLine, NeverGoesBelowZero) {
  const Line falling = fit_line(std::vector<Timing>{{1, 5}, {4, 4}, {16, 3}});
  EXPECT_EQ(falling.row_ms, 0);
  EXPECT_GT(falling.fixed_ms, 3);
  const Line steep = fit_line(std::vector<Timing>{{1, 1}, {4, 6}, {16, 40}});
  EXPECT_EQ(steep.fixed_ms, 0);
  EXPECT_GT(steep.row_ms, 1);
}

TEST(FitLine, TakesWhatThereIs) {
  EXPECT_EQ(fit_line({}).fixed_ms, 0);
  EXPECT_EQ(fit_line(std::vector<Timing>{{4, 7}}).fixed_ms, 7);
  EXPECT_EQ(fit_line(std::vector<Timing>{{1, 0}, {4, 7}}).fixed_ms, 7);
}

TEST(SetSpeeds, TellsCallLayersAndHeadApartByTheWholeModel) {
  const Ideal ideal;
  expect_ideal(
      {.middle = ideal.run(2, false), .last = ideal.run(2, true), .more = ideal.run(30, true)},
      ideal);
}

TEST(SetSpeeds, TellsThemApartByALongerSlice) {
  const Ideal ideal;
  expect_ideal(
      {.middle = ideal.run(6, false), .last = ideal.run(2, true), .more = ideal.run(18, false)},
      ideal);
}

TEST(SetSpeeds, TakesTheCallForPartOfTheLayersWhenTheyAreLarge) {
  Ideal ideal;
  ideal.call = 0;
  expect_ideal({.middle = ideal.run(1, false), .last = ideal.run(1, true), .more = {}}, ideal);
}

TEST(SetSpeeds, NeverTakesALayerForFree) {
  // Somebody disturbed the short slices: the whole model took less.
  const Ideal slow{.call = 50, .layer = {10, 1}, .head = {100, 5}, .prefill = 1};
  Measured measured{
      .middle = slow.run(2, false), .last = slow.run(2, true), .more = Ideal().run(30, true)};
  measured.more->prefill.ms = 8;
  DeviceBudget budget;
  set_speeds(measured, budget);
  EXPECT_GT(budget.layer_read_ms + budget.layer_row_ms, 0);
  EXPECT_GT(budget.prefill_row_ms, 0);
}

TEST(SetSpeeds, SpreadsAModelThatCannotBeCutOverItsLayers) {
  Ideal ideal;
  ideal.call = 0;
  ideal.head = {0, 0};
  expect_ideal({.middle = ideal.run(12, false), .last = {}, .more = {}}, ideal);
}

}  // namespace
}  // namespace gogrid

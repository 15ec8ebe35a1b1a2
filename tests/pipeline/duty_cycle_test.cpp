// That devices rest for what their share leaves, whatever the stages and steps.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include "base/bounded_queue.h"
#include "pipeline/pipeline.h"
#include "support/fake_stage.h"
#include "support/slowness.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::fake_specs;
using testing::FakeCall;
using testing::FakeOptions;
using testing::FakeStageFactory;

const SteadyClock kClock;

// Keeps two steps in flight, so that a stage that does not rest has always work.
class BusyPipeline {
 public:
  BusyPipeline(std::size_t n_stages, PipelineOptions options, milliseconds step)
      : factory_(FakeOptions{.script = [step](FakeCall&) { std::this_thread::sleep_for(step); }}) {
    options.steps_in_flight = 2;
    auto built = Pipeline::build(
        fake_specs(n_stages), factory_, options, kClock,
        [this](StepResult result) { results_.try_push(std::move(result)); }, {}, {});
    EXPECT_TRUE(built);
    pipeline_ = *std::move(built);
  }

  // The share of the time that each stage computed.
  std::vector<double> run(Duration length) {
    const TimePoint begin = kClock.now();
    send(0);
    send(1);
    for (SlotId slot = 0; kClock.now() < begin + length; slot = 1 - slot) {
      if (!next(seconds(30))) return {};
      send(slot);
    }
    const Duration wall = kClock.now() - begin;
    for (int in_flight = 0; in_flight < 2; ++in_flight) EXPECT_TRUE(next(seconds(30)));
    std::vector<double> shares;
    for (const StageStatus& stage : pipeline_->stages()) {
      shares.push_back(std::chrono::duration<double>(stage.busy) /
                       std::chrono::duration<double>(wall));
    }
    return shares;
  }

  void send(SlotId slot) {
    StageInput input;
    input.rows.push_back({slot, position_[slot]++, 5, true});
    input.outputs.emplace_back();
    EXPECT_TRUE(pipeline_->submit(std::move(input)));
  }
  // Whether a step has come back in time; it must have been computed.
  bool next(Duration within) {
    const auto result = results_.pop_until(std::chrono::steady_clock::now() + within);
    EXPECT_TRUE(!result || result->output);
    return result.has_value();
  }

 private:
  BoundedQueue<StepResult> results_{64};
  FakeStageFactory factory_;
  std::int32_t position_[2] = {0, 0};
  std::unique_ptr<Pipeline> pipeline_;  // last: calls back
};

class DutyCycleOf : public ::testing::TestWithParam<int> {};

TEST_P(DutyCycleOf, APipelineIsWithinFivePointsOnOneAndTwoStages) {
  const auto share = Share::of_millionths(static_cast<std::uint32_t>(GetParam()) * 10'000);
  for (const std::size_t n_stages : {1U, 2U}) {
    BusyPipeline pipeline(n_stages, {.compute_share = [=](const std::string&) { return share; }},
                          milliseconds(8));
    for (const double busy : pipeline.run(seconds(1))) {
      EXPECT_LE(busy, share.number() + 0.05) << n_stages;
      // Two stages pass their steps on, so one may wait for the other.
      if (n_stages == 1) {
        EXPECT_GE(busy, share.number() - 0.05 * testing::kSlowness);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shares, DutyCycleOf, ::testing::Values(20, 50, 60, 80, 95));

TEST(DutyCycleOfDevices, EachHasItsOwn) {
  for (const std::size_t limited : {0U, 1U}) {
    const std::string name = "fake" + std::to_string(limited);
    const auto share_of = [&](const std::string& device) {
      return Share::percent(device == name ? 20 : 100);
    };
    BusyPipeline pipeline(2, {.compute_share = share_of}, milliseconds(5));
    const auto busy = pipeline.run(seconds(1));
    ASSERT_EQ(busy.size(), 2U);
    EXPECT_LE(busy[limited], 0.25) << name;
    EXPECT_GE(busy[limited], 0.2 - 0.05 * testing::kSlowness) << name;
  }
}

TEST(DutyCycleOfDevices, AChangeIsInForceWithTheNextStep) {
  std::atomic<std::uint32_t> millionths{100'000};
  BusyPipeline pipeline(
      1, {.compute_share = [&](const std::string&) { return Share::of_millionths(millionths); }},
      milliseconds(5));
  EXPECT_LE(pipeline.run(milliseconds(500))[0], 0.2);
  millionths = 1'000'000;
  // Of all the time until then: the second half is without rests.
  EXPECT_GE(pipeline.run(seconds(1))[0], 0.5);
}

// 5 ms of eight minutes.
constexpr Share kHardlyAny = Share::of_millionths(10);

TEST(DutyCycleOfDevices, ARestIsNoHang) {
  std::atomic<Share> share{kHardlyAny};
  BusyPipeline pipeline(2,
                        {.transfer_deadline = milliseconds(40),
                         .compute_share = [&](const std::string&) { return share.load(); }},
                        milliseconds(5));
  pipeline.send(0);
  pipeline.send(1);
  ASSERT_TRUE(pipeline.next(seconds(30)));
  EXPECT_FALSE(pipeline.next(milliseconds(300)));  // both stages rest, and nothing has failed
  share = Share::percent(100);
  EXPECT_TRUE(pipeline.next(seconds(30)));
}

// Steps are computed while the share is nothing for a moment; what comes after goes by the share
// that is then.
TEST(DutyCycleOfDevices, AShareOfNothingThatLastedForAMomentIsForgotten) {
  std::atomic<Share> share{Share::percent(100)};
  std::atomic<bool> dips{false};
  BusyPipeline pipeline(
      1,
      {.compute_share =
           [&](const std::string&) { return dips.exchange(false) ? kHardlyAny : share.load(); }},
      milliseconds(5));
  pipeline.send(0);
  for (SlotId slot = 1; slot < 8; ++slot) {
    dips = true;
    pipeline.send(slot % 2);
    EXPECT_TRUE(pipeline.next(seconds(5)));
  }
  EXPECT_TRUE(pipeline.next(seconds(5)));
}

// The first stage is let on, so that a step waits at the second, which has begun nothing of it.
TEST(DutyCycleOfDevices, ARestEndsWithThePipeline) {
  const auto share_of = [](const std::string& device) {
    return device == "fake1" ? kHardlyAny : Share::percent(100);
  };
  std::optional<BusyPipeline> pipeline(std::in_place, 2, PipelineOptions{.compute_share = share_of},
                                       milliseconds(5));
  pipeline->send(0);
  pipeline->send(1);
  ASSERT_TRUE(pipeline->next(seconds(30)));
  std::this_thread::sleep_for(milliseconds(50));
  const TimePoint begin = kClock.now();
  pipeline.reset();
  EXPECT_LT(kClock.now() - begin, seconds(5) * testing::kSlowness);
}

}  // namespace
}  // namespace gogrid

// That devices rest for what their share leaves, whatever the stages and steps.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
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

PipelineOptions limited_by(DeviceDuty::ShareOf share) {
  return {.duty = std::make_shared<DeviceDuty>(std::move(share), kClock)};
}

// Keeps two steps in flight, so that a stage that does not rest has always work.
class BusyPipeline {
 public:
  BusyPipeline(std::size_t n_stages, PipelineOptions options, milliseconds step)
      : BusyPipeline(n_stages, std::move(options),
                     [step](FakeCall&) { std::this_thread::sleep_for(step); }) {}
  BusyPipeline(std::size_t n_stages, PipelineOptions options, std::function<void(FakeCall&)> step)
      : factory_(FakeOptions{.script = std::move(step)}) {
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
  // Short beside the second that is looked at, and its rest long beside what a wake-up takes.
  const milliseconds step(GetParam() > 90 ? 20 : 8);
  for (const std::size_t n_stages : {1U, 2U}) {
    BusyPipeline pipeline(n_stages, limited_by([=](const std::string&) { return share; }), step);
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
    BusyPipeline pipeline(2, limited_by(share_of), milliseconds(5));
    const auto busy = pipeline.run(seconds(1));
    ASSERT_EQ(busy.size(), 2U);
    EXPECT_LE(busy[limited], 0.25) << name;
    EXPECT_GE(busy[limited], 0.2 - 0.05 * testing::kSlowness) << name;
  }
}

TEST(DutyCycleOfDevices, AChangeIsInForceWithTheNextStep) {
  std::atomic<std::uint32_t> millionths{100'000};
  BusyPipeline pipeline(
      1, limited_by([&](const std::string&) { return Share::of_millionths(millionths); }),
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
  PipelineOptions options = limited_by([&](const std::string&) { return share.load(); });
  options.transfer_deadline = milliseconds(40);
  BusyPipeline pipeline(2, options, milliseconds(5));
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
  BusyPipeline pipeline(1, limited_by([&](const std::string&) {
                          return dips.exchange(false) ? kHardlyAny : share.load();
                        }),
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
  std::optional<BusyPipeline> pipeline(std::in_place, 2, limited_by(share_of), milliseconds(5));
  pipeline->send(0);
  pipeline->send(1);
  ASSERT_TRUE(pipeline->next(seconds(30)));
  std::this_thread::sleep_for(milliseconds(50));
  const TimePoint begin = kClock.now();
  pipeline.reset();
  EXPECT_LT(kClock.now() - begin, seconds(5) * testing::kSlowness);
}

// What of the time between the first and the last look some step was in forward() on the device.
class UnionOfSteps {
 public:
  void begin() {
    const std::lock_guard lock(mu_);
    if (running_++ == 0) since_ = kClock.now();
  }
  void end() {
    const std::lock_guard lock(mu_);
    if (--running_ == 0) busy_ += kClock.now() - since_;
  }
  double seconds() const { return std::chrono::duration<double>(busy_).count(); }

 private:
  std::mutex mu_;
  int running_ = 0;
  TimePoint since_;
  Duration busy_{};
};

// Each of them would take half of the time if the other were not there.
TEST(DutyCycleOfDevices, IsOfAllModelsOnADeviceTogether) {
  UnionOfSteps device;
  const auto duty =
      std::make_shared<DeviceDuty>([](const std::string&) { return Share::percent(50); }, kClock);
  const auto step = [&](FakeCall&) {
    device.begin();
    std::this_thread::sleep_for(milliseconds(8));
    device.end();
  };
  BusyPipeline a(1, {.duty = duty}, step);
  BusyPipeline b(1, {.duty = duty}, step);
  const TimePoint begin = kClock.now();
  std::vector<double> of_b;
  std::jthread other([&] { of_b = b.run(seconds(1)); });
  const auto of_a = a.run(seconds(1));
  other.join();
  const double wall = std::chrono::duration<double>(kClock.now() - begin).count();
  EXPECT_LE(device.seconds() / wall, 0.5 + 0.05);
  EXPECT_GE(device.seconds() / wall, 0.5 - 0.1 * testing::kSlowness);
  ASSERT_EQ(of_a.size(), 1U);
  ASSERT_EQ(of_b.size(), 1U);
  // Neither has filled the other's rest.
  EXPECT_GE(of_a[0], 0.2 / testing::kSlowness);
  EXPECT_GE(of_b[0], 0.2 / testing::kSlowness);
}

}  // namespace
}  // namespace gogrid

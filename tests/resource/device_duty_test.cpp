#include "resource/device_duty.h"

#include <gtest/gtest.h>

#include "support/manual_clock.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using testing::ManualClock;

class DeviceDutyTest : public ::testing::Test {
 protected:
  class Listener final : public DutyListener {
   public:
    void duty_changed() override { ++told; }
    int told = 0;
  };

  DeviceDutyTest() { duty_.listen(listener_); }
  bool may_begin(const std::string& device = "gpu") { return duty_.try_begin(device).has_value(); }

  ManualClock clock_;
  Share share_ = Share::percent(50);
  DeviceDuty duty_{[this](const std::string&) { return share_; }, clock_};
  const std::shared_ptr<Listener> listener_ = std::make_shared<Listener>();
};

TEST_F(DeviceDutyTest, ADeviceRestsAfterAStepForWhatTheShareAsks) {
  {
    const auto step = duty_.try_begin("gpu");
    ASSERT_TRUE(step);
    clock_.advance(milliseconds(30));
  }
  const TimePoint end = clock_.now();
  EXPECT_EQ(duty_.free_at("gpu"), end + milliseconds(30));
  EXPECT_FALSE(may_begin());
  clock_.advance(milliseconds(29));
  EXPECT_FALSE(may_begin());
  clock_.advance(milliseconds(1));
  EXPECT_TRUE(may_begin());
}

TEST_F(DeviceDutyTest, OtherDevicesDoNotWait) {
  {
    const auto step = duty_.try_begin("gpu");
    clock_.advance(milliseconds(30));
  }
  EXPECT_FALSE(may_begin());
  EXPECT_TRUE(may_begin("cpu"));
}

TEST_F(DeviceDutyTest, AnotherStepMayJoinUntilTheFirstHasEnded) {
  auto first = duty_.try_begin("gpu");
  clock_.advance(milliseconds(10));
  auto second = duty_.try_begin("gpu");
  ASSERT_TRUE(second);
  clock_.advance(milliseconds(10));
  first.reset();
  EXPECT_FALSE(may_begin()) << "else two models would compute all the time, by turns";
  EXPECT_EQ(duty_.free_at("gpu"), DeviceDuty::kUntold);
  clock_.advance(milliseconds(10));
  second.reset();
  EXPECT_EQ(duty_.free_at("gpu"), clock_.now() + milliseconds(30)) << "of all the period";
}

TEST_F(DeviceDutyTest, TellsListenersOnceNobodyComputesAnyMore) {
  auto first = duty_.try_begin("gpu");
  auto second = duty_.try_begin("gpu");
  first.reset();
  EXPECT_EQ(listener_->told, 0);
  second.reset();
  EXPECT_EQ(listener_->told, 1);
}

TEST_F(DeviceDutyTest, AListenerThatIsGoneIsNotTold) {
  auto gone = std::make_shared<Listener>();
  duty_.listen(gone);
  gone.reset();
  duty_.try_begin("gpu").reset();
  EXPECT_EQ(listener_->told, 1);
}

TEST_F(DeviceDutyTest, ANewShareIsInForceForARestThatGoesOn) {
  {
    const auto step = duty_.try_begin("gpu");
    clock_.advance(milliseconds(30));
  }
  share_ = Share::percent(75);
  EXPECT_EQ(duty_.free_at("gpu"), clock_.now() + milliseconds(10));
  share_ = Share::percent(100);
  EXPECT_TRUE(may_begin());
}

TEST_F(DeviceDutyTest, NothingIsOwedForTimeInWhichAllMightBeUsed) {
  share_ = Share::percent(100);
  auto first = duty_.try_begin("gpu");
  for (int i = 0; i < 100; ++i) {  // one of two computes at each moment, for a second
    auto second = duty_.try_begin("gpu");
    ASSERT_TRUE(second);
    clock_.advance(milliseconds(10));
    first = std::move(second);
  }
  share_ = Share::percent(50);
  first.reset();
  EXPECT_EQ(duty_.free_at("gpu"), clock_.now() + milliseconds(10));
}

TEST_F(DeviceDutyTest, WhatMustEndBeginsInARestToo) {
  {
    const auto step = duty_.try_begin("gpu");
    clock_.advance(milliseconds(30));
  }
  ASSERT_FALSE(may_begin());
  auto last = duty_.begin("gpu");
  EXPECT_EQ(duty_.free_at("gpu"), DeviceDuty::kUntold);
}

TEST_F(DeviceDutyTest, ATurnThatIsMovedIntoGivesBackWhatItWas) {
  auto turn = duty_.begin("gpu");
  turn = duty_.begin("cpu");
  EXPECT_EQ(listener_->told, 1);
  EXPECT_NE(duty_.free_at("gpu"), DeviceDuty::kUntold);
}

}  // namespace
}  // namespace gogrid

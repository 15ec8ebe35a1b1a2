#include "resource/governor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>
#include <thread>

#include "support/manual_clock.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;

class GovernorTest : public ::testing::Test {
 protected:
  TimePoint in(Duration time) const { return clock_.now() + time; }

  testing::ManualClock clock_;
  Governor governor_{clock_};
};

TEST_F(GovernorTest, RunsUntilSomebodyAsksForAPause) {
  EXPECT_TRUE(governor_.runs());
  EXPECT_FALSE(governor_.state().paused);
  EXPECT_EQ(governor_.paused_time(), 0s);
  EXPECT_FALSE(governor_.resume(PauseReason::kOperator));
}

TEST_F(GovernorTest, APauseEndsByItselfWhenItsTimeIsOver) {
  governor_.pause(PauseReason::kLoad, "a compiler", in(30s));
  EXPECT_FALSE(governor_.runs());
  EXPECT_EQ(governor_.state().why, "a compiler");
  EXPECT_EQ(governor_.state().until, in(30s));
  clock_.advance(30s - 1ns);
  EXPECT_FALSE(governor_.runs());
  clock_.advance(1ns);
  EXPECT_TRUE(governor_.runs());
  EXPECT_FALSE(governor_.state().paused);
}

TEST_F(GovernorTest, APauseWithoutATimeEndsWhenSomebodyResumes) {
  governor_.pause(PauseReason::kOperator, "a film", {});
  clock_.advance(100h);
  EXPECT_FALSE(governor_.runs());
  EXPECT_FALSE(governor_.state().until);
  EXPECT_TRUE(governor_.resume(PauseReason::kOperator));
  EXPECT_TRUE(governor_.runs());
}

TEST_F(GovernorTest, LongJobsWaitForTheEndOfAPauseOrAreToldToStop) {
  EXPECT_TRUE(governor_.wait({}));
  EXPECT_TRUE(wait_to_run(nullptr, {}));
  governor_.pause(PauseReason::kOperator, "a film", {});
  std::atomic<bool> goes_on = false;
  std::jthread job([&] { goes_on = governor_.wait({}); });
  std::this_thread::sleep_for(5 * Governor::kWaitPoll);
  EXPECT_FALSE(goes_on);
  std::stop_source stop;
  auto told =
      std::async(std::launch::async, [&] { return wait_to_run(&governor_, stop.get_token()); });
  EXPECT_EQ(told.wait_for(5 * Governor::kWaitPoll), std::future_status::timeout);
  stop.request_stop();
  EXPECT_FALSE(told.get());
  EXPECT_FALSE(wait_to_run(nullptr, stop.get_token()));
  governor_.resume(PauseReason::kOperator);
  job.join();
  EXPECT_TRUE(goes_on);
}

TEST_F(GovernorTest, EveryReasonMustHaveEndedBeforeWorkGoesOn) {
  governor_.pause(PauseReason::kLoad, "a compiler", in(10s));
  governor_.pause(PauseReason::kOperator, "a film", {});
  governor_.pause(PauseReason::kSchedule, "office hours", in(20s));
  EXPECT_EQ(governor_.state().why, "a film");  // people come first
  EXPECT_FALSE(governor_.state().until);
  EXPECT_TRUE(governor_.resume(PauseReason::kOperator));
  EXPECT_EQ(governor_.state().why, "office hours");
  EXPECT_EQ(governor_.state().until, in(20s));
  EXPECT_TRUE(governor_.resume(PauseReason::kSchedule));
  EXPECT_EQ(governor_.state().until, in(10s));
  clock_.advance(10s);
  EXPECT_TRUE(governor_.runs());
}

TEST_F(GovernorTest, ALaterPauseOfOneReasonReplacesTheEarlier) {
  governor_.pause(PauseReason::kLoad, "a compiler", in(10s));
  governor_.pause(PauseReason::kLoad, "a linker", in(5s));
  EXPECT_EQ(governor_.state().why, "a linker");
  clock_.advance(5s);
  EXPECT_TRUE(governor_.runs());
}

TEST_F(GovernorTest, ATimeThatHasPassedIsNoPause) {
  governor_.pause(PauseReason::kLoad, "late", in(0s));
  EXPECT_TRUE(governor_.runs());
}

TEST_F(GovernorTest, CountsTheTimeOfPausesOnceHoweverManyAsk) {
  governor_.pause(PauseReason::kLoad, "a", in(10s));
  clock_.advance(4s);
  EXPECT_EQ(governor_.paused_time(), 4s);
  governor_.pause(PauseReason::kOperator, "b", in(2s));
  clock_.advance(1h);  // nobody looked at its end
  EXPECT_EQ(governor_.paused_time(), 10s);
  governor_.pause(PauseReason::kOperator, "c", {});
  clock_.advance(3s);
  EXPECT_TRUE(governor_.resume(PauseReason::kOperator));
  clock_.advance(1h);
  EXPECT_EQ(governor_.paused_time(), 13s);
}

// Whatever is asked, the time paused is the time in which runs() was false.
TEST_F(GovernorTest, ThePausedTimeIsThatInWhichItDidNotRun) {
  std::mt19937 random(1);
  Duration expected{0};
  for (int i = 0; i < 20'000; ++i) {
    const auto reason = static_cast<PauseReason>(random() % kPauseReasons);
    switch (random() % 4) {
      case 0:
        governor_.pause(reason, "x", in(std::chrono::milliseconds(random() % 50)));
        break;
      case 1:
        if (random() % 4 == 0) governor_.pause(reason, "x", {});
        break;
      default:
        governor_.resume(reason);
    }
    if (!governor_.runs()) expected += 1ms;
    clock_.advance(1ms);
    ASSERT_EQ(governor_.paused_time(), expected) << i;
  }
  EXPECT_GT(expected, 1s);
}

}  // namespace
}  // namespace gogrid

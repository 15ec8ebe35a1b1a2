#include "service/status_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/eventually.h"
#include "support/tiny_engine.h"

namespace gogrid {
namespace {

using testing::eventually;
using testing::FakeStageFactory;
using testing::TinyEngine;

class StatusServiceTest : public ::testing::Test {
 protected:
  void load() {
    TextEngineOptions options = tiny_.options();
    options.governor = &governor_;
    ASSERT_TRUE(engines_.add("tiny", [&, options](const auto& progress, std::stop_token stop) {
      return TinyEngine::load(options, factory_, clock_, progress, stop);
    }));
  }

  const SteadyClock clock_;
  const TinyEngine tiny_;
  FakeStageFactory factory_;
  const DeviceRegistry devices_ = DeviceRegistry::detect({}, clock_).value();
  Governor governor_{clock_};
  EngineRegistry engines_{clock_};
  StatusService status_{devices_, engines_, governor_, clock_};
};

TEST_F(StatusServiceTest, SaysWhyAModelThatLoadsInAPauseIsNotReady) {
  governor_.pause(PauseReason::kSchedule, "quiet hours", clock_.now() + std::chrono::hours(1));
  load();
  std::this_thread::sleep_for(5 * Governor::kWaitPoll);
  const StatusReport paused = status_.report();
  EXPECT_EQ(paused.state, ServerState::kPaused);
  EXPECT_EQ(paused.why, "quiet hours");
  ASSERT_TRUE(paused.resumes_in);
  EXPECT_GT(*paused.resumes_in, std::chrono::minutes(59));
  ASSERT_EQ(paused.models.size(), 1U);
  EXPECT_EQ(paused.models[0].state, ModelState::kLoading);
  EXPECT_FALSE(status_.ready());
  governor_.resume(PauseReason::kSchedule);
  EXPECT_TRUE(eventually([&] { return status_.ready(); }));
  EXPECT_EQ(status_.report().state, ServerState::kRunning);
  EXPECT_EQ(status_.report().why, "");
}

TEST_F(StatusServiceTest, IsDrainingAlsoInAPause) {
  governor_.pause(PauseReason::kOperator, "a film", {});
  status_.set_draining("told to stop");
  EXPECT_EQ(status_.report().state, ServerState::kDraining);
  EXPECT_EQ(status_.report().why, "told to stop");
}

}  // namespace
}  // namespace gogrid

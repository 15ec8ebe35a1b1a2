#include "resource/load_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/manual_clock.h"

namespace gogrid {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ManualClock;

// CPU above 0.7, GPU 0.8, memory 0.9; looks every 5 s, pauses for 30 s.
const PausePolicy kPolicy = ResourcePolicy::of(ResourceMode::kBalanced).pause;

HostLoad host_load(double cpu) {
  return {.cpu = CpuLoad{.others = *Share::of(cpu), .own = Share()},
          .memory_of_others = Share(),
          .pressure = {Pressure{}, Pressure{}, Pressure{}},
          .power = Power{},
          .heat = not_known("heat", "no zone")};
}

struct LoadMonitorTest : ::testing::Test {
  LoadMonitor& make(const PausePolicy& policy = kPolicy) {
    LoadSources sources{.host = [this] { return ask_host(); },
                        .gpu_of_others = [this] { return ask_gpu(); }};
    owned.emplace(policy, std::move(sources), clock,
                  [this](const LoadDecision& decision) { told(decision); });
    return *owned;
  }
  HostLoad ask_host() {
    ++host_looks;
    if (host_throws) throw std::runtime_error("no such file");
    return host_load(cpu);
  }
  Reading<Share> ask_gpu() {
    ++gpu_looks;
    if (gpu_throws) throw std::runtime_error("device lost");
    return *Share::of(gpu);
  }
  void told(const LoadDecision& decision) {
    ++tellings;
    last_told = decision.state;
    if (listener_throws) throw std::runtime_error("deaf");
  }
  // Waits for what another thread does; the test's time limit is that of the whole program.
  template <class Condition>
  static void await(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
  }

  ManualClock clock;
  std::atomic<double> cpu = 0.1;
  std::atomic<double> gpu = 0.1;
  std::atomic<bool> host_throws = false;
  std::atomic<bool> gpu_throws = false;
  std::atomic<bool> listener_throws = false;
  std::atomic<int> host_looks = 0;
  std::atomic<int> gpu_looks = 0;
  std::atomic<int> tellings = 0;
  std::atomic<LoadState> last_told = LoadState::kRunning;
  std::optional<LoadMonitor> owned;
};

TEST_F(LoadMonitorTest, PausesForALoadAndGoesOnAfterIt) {
  LoadMonitor& monitor = make();
  EXPECT_EQ(monitor.last(), nullptr);
  EXPECT_FALSE(monitor.paused());
  cpu = 0.83;
  EXPECT_EQ(monitor.look()->decision.why, "others use 83 % of the CPU (limit 70 %)");
  EXPECT_TRUE(monitor.paused());
  EXPECT_EQ(last_told, LoadState::kPaused);
  cpu = 0.1;
  clock.advance(30s - 1ns);
  monitor.look();
  EXPECT_TRUE(monitor.paused());
  clock.advance(1ns);
  monitor.look();
  EXPECT_FALSE(monitor.paused());
  EXPECT_EQ(last_told, LoadState::kRunning);
  EXPECT_EQ(tellings, 3);
}

TEST_F(LoadMonitorTest, PausesForTheGpuThatItIsToldOf) {
  gpu = 0.9;
  EXPECT_EQ(make().look()->decision.why, "others use 90 % of the GPU (limit 80 %)");
}

TEST_F(LoadMonitorTest, KeepsTheWholeOfTheLastLook) {
  LoadMonitor& monitor = make();
  monitor.look();
  const auto view = monitor.last();
  EXPECT_EQ(view->gpu_of_others, *Share::of(0.1));
  EXPECT_EQ(view->host.power, Power{});
  EXPECT_THAT(view->host.heat.error(), HasSubstr("no zone"));
  cpu = 0.9;
  monitor.look();
  EXPECT_EQ(view->decision.state, LoadState::kRunning) << "a view does not change";
}

TEST_F(LoadMonitorTest, WhatASourceThrowsIsUnknownAndPausesNothing) {
  LoadMonitor& monitor = make();
  host_throws = true;
  gpu_throws = true;
  const auto view = monitor.look();
  EXPECT_FALSE(monitor.paused());
  EXPECT_THAT(view->decision.unknown,
              Contains(HasSubstr("cpu: [load] machine: the look failed: no such file")));
  EXPECT_THAT(view->decision.unknown,
              Contains(HasSubstr("gpu: [load] GPU: the look failed: device lost")));
  EXPECT_FALSE(view->host.pressure[1].has_value());
}

TEST_F(LoadMonitorTest, WithoutASourceForTheGpuItIsUnknown) {
  LoadMonitor alone(kPolicy, {.host = [] { return host_load(0.1); }, .gpu_of_others = {}}, clock);
  EXPECT_THAT(alone.look()->decision.unknown, Contains(HasSubstr("none is asked")));
}

TEST_F(LoadMonitorTest, SwitchedOffItLeavesTheGpuAsleepAndLooksAtTheRest) {
  PausePolicy off = kPolicy;
  off.enabled = false;
  cpu = 1.0;
  LoadMonitor& monitor = make(off);
  EXPECT_EQ(monitor.look()->host.cpu->others, *Share::of(1.0));
  EXPECT_FALSE(monitor.paused());
  EXPECT_EQ(gpu_looks, 0);
  monitor.set_policy(kPolicy);
  monitor.look();
  EXPECT_TRUE(monitor.paused());
  EXPECT_EQ(gpu_looks, 1);
}

TEST_F(LoadMonitorTest, LooksFromAThreadAtOnceAndAgain) {
  PausePolicy often = kPolicy;
  often.check = 0s;  // as often as it may
  LoadMonitor& monitor = make(often);
  ASSERT_TRUE(monitor.start().has_value());
  ASSERT_TRUE(monitor.start().has_value()) << "no second thread";
  await([&] { return host_looks >= 1; });
  cpu = 0.9;
  await([&] { return monitor.paused(); });
  monitor.stop();
}

TEST_F(LoadMonitorTest, TakesTheLoadOfTheLastSecondBeforeALook) {
  PausePolicy rarely = kPolicy;
  rarely.check = 2s;
  LoadMonitor& monitor = make(rarely);
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(monitor.start().has_value());
  await([&] { return tellings >= 1; });
  EXPECT_EQ(host_looks, 1);
  await([&] { return host_looks == 2 && gpu_looks == 2; });
  EXPECT_EQ(tellings, 1) << "only a window begins";
  const auto window = std::chrono::steady_clock::now();
  EXPECT_GE(window - begun, 2s - LoadMonitor::kWindow);
  await([&] { return tellings >= 2; });
  EXPECT_GE(std::chrono::steady_clock::now() - window, LoadMonitor::kWindow - 10ms);
  EXPECT_EQ(host_looks, 3);
  EXPECT_EQ(gpu_looks, 3);
}

TEST_F(LoadMonitorTest, APolicyThatIsTheSameIsNoReasonToLook) {
  PausePolicy rarely = kPolicy;
  rarely.check = 1h;
  LoadMonitor& monitor = make(rarely);
  monitor.set_policy(rarely);
  ASSERT_TRUE(monitor.start().has_value());
  await([&] { return tellings >= 1; });
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(tellings, 1);
}

TEST_F(LoadMonitorTest, LooksNoMoreOnceStopped) {
  PausePolicy often = kPolicy;
  often.check = 0s;
  LoadMonitor& monitor = make(often);
  ASSERT_TRUE(monitor.start().has_value());
  await([&] { return host_looks >= 2; });
  monitor.stop();
  const int looks = host_looks;
  monitor.stop();
  ASSERT_TRUE(monitor.start().has_value());
  std::this_thread::sleep_for(3 * LoadMonitor::kLeastInterval);
  EXPECT_EQ(host_looks, looks);
}

TEST_F(LoadMonitorTest, AChangedPolicyIsInForceBeforeTheIntervalIsOver) {
  PausePolicy rarely = kPolicy;
  rarely.check = 1h;
  LoadMonitor& monitor = make(rarely);
  cpu = 0.5;
  ASSERT_TRUE(monitor.start().has_value());
  await([&] { return monitor.last() != nullptr; });
  EXPECT_FALSE(monitor.paused());
  rarely.cpu = *Share::of(0.4);
  monitor.set_policy(rarely);
  await([&] { return monitor.paused(); });
  PausePolicy often = rarely;
  often.check = 0s;
  monitor.set_policy(often);
  const int looks = host_looks;
  await([&] { return host_looks > looks + 2; });
}

TEST_F(LoadMonitorTest, StopsWithinAnIntervalThatIsLong) {
  PausePolicy rarely = kPolicy;
  rarely.check = 1h;
  LoadMonitor& monitor = make(rarely);
  ASSERT_TRUE(monitor.start().has_value());
  await([&] { return host_looks == 1; });
  monitor.stop();
  EXPECT_EQ(host_looks, 1);
}

TEST_F(LoadMonitorTest, TheThreadOutlivesAListenerThatThrows) {
  PausePolicy often = kPolicy;
  often.check = 0s;
  listener_throws = true;
  LoadMonitor& monitor = make(often);
  ASSERT_TRUE(monitor.start().has_value());
  await([&] { return tellings >= 2; });
  listener_throws = false;
  cpu = 0.9;
  await([&] { return last_told == LoadState::kPaused; });
}

TEST_F(LoadMonitorTest, MayBeAskedByManyWhileItLooks) {
  PausePolicy often = kPolicy;
  often.check = 0s;
  LoadMonitor& monitor = make(often);
  ASSERT_TRUE(monitor.start().has_value());
  std::vector<std::jthread> askers;
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([&, i] {
      for (int k = 0; k < 300; ++k) {
        if (i == 0) monitor.set_policy(k % 2 == 0 ? kPolicy : often);
        if (i == 1) cpu = k % 2 == 0 ? 0.9 : 0.1;
        if (i == 2) monitor.look();
        const auto view = monitor.last();
        if (view != nullptr && view->decision.state == LoadState::kPaused) {
          EXPECT_FALSE(view->decision.why.empty());
        }
      }
    });
  }
  askers.clear();
  monitor.stop();
  EXPECT_EQ(monitor.paused(), monitor.last()->decision.state == LoadState::kPaused);
}

}  // namespace
}  // namespace gogrid

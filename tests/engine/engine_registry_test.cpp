#include "engine/engine_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "support/eventually.h"
#include "support/manual_clock.h"
#include "support/recording_sink.h"
#include "support/tiny_engine.h"

namespace gogrid {
namespace {

using testing::eventually;
using testing::FakeStageFactory;
using ::testing::HasSubstr;
using testing::Latch;
using testing::ManualClock;
using testing::RecordingSink;
using testing::TinyEngine;

// A registry over one tiny model; time is moved by hand.
class EngineRegistryTest : public ::testing::Test {
 protected:
  EngineLoader loader() {
    return [this](const LoadProgress& progress, std::stop_token stop) {
      ++loads_;
      return TinyEngine::load(tiny_.options(), factory_, clock_, progress, stop);
    };
  }
  static EngineLoader failing(ErrorCode code, std::atomic<int>& tries) {
    return [code, &tries](const LoadProgress&, std::stop_token) {
      ++tries;
      return fail(code, "it will not load");
    };
  }
  ModelState state(std::size_t index = 0) const { return registry_.list().at(index).state; }

  // Breaks the engine's stage by a request that fails.
  void break_engine(const std::shared_ptr<TextEngine>& engine) {
    broken_ = true;
    auto sink = std::make_shared<RecordingSink>();
    Submission submission{.request = {}, .sink = sink};
    submission.request.prompt = {1, 2};
    submission.request.max_tokens = 5;
    EXPECT_TRUE(engine->generate(std::move(submission)));
    EXPECT_TRUE(sink->wait_for_end());
    broken_ = false;
  }

  const TinyEngine tiny_;
  std::atomic<bool> broken_ = false;
  std::atomic<int> loads_ = 0;
  ManualClock clock_;
  FakeStageFactory factory_{{.script = [this](testing::FakeCall& call) {
    if (broken_) call.error = Error{ErrorCode::kUnavailable, "the device is gone"};
  }}};
  EngineRegistry registry_{clock_};
};

TEST_F(EngineRegistryTest, AModelBecomesReadyAndIsFoundByItsName) {
  ASSERT_TRUE(registry_.add("tiny", loader()));
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  const auto engine = registry_.find("tiny");
  ASSERT_TRUE(engine);
  EXPECT_EQ((*engine)->plan().model, "tiny");
  const auto models = registry_.list();
  ASSERT_EQ(models.size(), 1U);
  EXPECT_EQ(models[0].name, "tiny");
  EXPECT_EQ(models[0].state, ModelState::kReady);
  EXPECT_EQ(models[0].progress, 1.0);
  EXPECT_EQ(models[0].engine, *engine);
  EXPECT_GT(models[0].created, 1'700'000'000);
}

TEST_F(EngineRegistryTest, AnUnknownNameIsNotFoundAndTheNearestIsNamed) {
  ASSERT_TRUE(registry_.add("smollm2-135m", loader()));
  const auto engine = registry_.find("smollm2-135");
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(engine.error().param, "model");
  EXPECT_THAT(engine.error().message, HasSubstr("smollm2-135m"));
}

TEST_F(EngineRegistryTest, ANameIsTakenOnce) {
  ASSERT_TRUE(registry_.add("tiny", loader()));
  const auto again = registry_.add("tiny", loader());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(registry_.list().size(), 1U);
}

TEST_F(EngineRegistryTest, AModelThatLoadsSaysHowFarItIsAndWhenToAskAgain) {
  const auto latch = std::make_shared<Latch>();  // the loader may leave it after the test
  ASSERT_TRUE(registry_.add("slow", [latch](const LoadProgress& progress, std::stop_token) {
    progress(0.42);
    latch->wait();
    return fail(ErrorCode::kUnsupported, "no");
  }));
  ASSERT_TRUE(eventually([&] { return registry_.list()[0].progress > 0.4; }));
  const auto engine = registry_.find("slow");
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(engine.error().message, HasSubstr("42 %"));
  EXPECT_TRUE(engine.error().retry_after);
  EXPECT_FALSE(registry_.ready());
  latch->open();
}

TEST_F(EngineRegistryTest, ModelsLoadOneAtATimeInTheirOrder) {
  std::atomic<int> inside = 0;
  std::atomic<bool> together = false;
  std::vector<int> order;
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(registry_.add("m" + std::to_string(i), [&, i](const auto&, std::stop_token) {
      if (++inside > 1) together = true;
      order.push_back(i);
      std::this_thread::yield();
      --inside;
      return fail(ErrorCode::kUnsupported, "no");
    }));
  }
  ASSERT_TRUE(eventually([&] { return state(3) == ModelState::kFailed; }));
  EXPECT_FALSE(together);
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
}

TEST_F(EngineRegistryTest, WhatCanNeverLoadIsTriedOnce) {
  std::atomic<int> tries = 0;
  ASSERT_TRUE(registry_.add("bad", failing(ErrorCode::kCorrupt, tries)));
  ASSERT_TRUE(eventually([&] { return state() == ModelState::kFailed; }));
  clock_.advance(std::chrono::hours(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // longer than it looks away
  EXPECT_EQ(tries, 1);
  const auto engine = registry_.find("bad");
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(engine.error().message, HasSubstr("it will not load"));
}

TEST_F(EngineRegistryTest, ALoadThatFailsForNowIsTriedThreeTimesMoreEachAfterALongerWait) {
  std::atomic<int> tries = 0;
  ASSERT_TRUE(registry_.add("flaky", failing(ErrorCode::kUnavailable, tries)));
  const auto tried = [&](int times) {
    return eventually([&] { return tries == times && state() == ModelState::kFailed; });
  };
  ASSERT_TRUE(tried(1));
  int times = 1;
  for (const int milliseconds : {100, 200, 400}) {
    clock_.advance(std::chrono::milliseconds(milliseconds - 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // longer than it looks away
    EXPECT_EQ(tries, times) << milliseconds;
    clock_.advance(std::chrono::milliseconds(1));
    ASSERT_TRUE(tried(++times)) << milliseconds;
  }
  clock_.advance(std::chrono::hours(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(tries, 4);
}

TEST_F(EngineRegistryTest, AFailedStageIsAStatusOfItsModelAndTheOthersServeOn) {
  FakeStageFactory healthy;
  ASSERT_TRUE(registry_.add("breaks", loader()));
  ASSERT_TRUE(registry_.add("holds", [&](const LoadProgress& progress, std::stop_token stop) {
    return TinyEngine::load(tiny_.options(), healthy, clock_, progress, stop);
  }));
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  break_engine(registry_.find("breaks").value());
  ASSERT_TRUE(eventually([&] { return state(0) == ModelState::kFailed; }));
  EXPECT_THAT(registry_.list()[0].why, HasSubstr("the device is gone"));
  EXPECT_EQ(registry_.find("breaks").error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(registry_.find("holds"));
  EXPECT_FALSE(registry_.ready());
  registry_.drain(clock_.now());
}

TEST_F(EngineRegistryTest, AFailureIsNoticedWhileAnotherModelLoads) {
  ASSERT_TRUE(registry_.add("breaks", loader()));
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  const auto latch = std::make_shared<Latch>();
  ASSERT_TRUE(registry_.add("slow", [latch](const auto&, std::stop_token) {
    latch->wait();
    return fail(ErrorCode::kUnsupported, "no");
  }));
  break_engine(registry_.find("breaks").value());
  EXPECT_TRUE(eventually([&] { return state(0) == ModelState::kFailed; }));
  latch->open();
}

TEST_F(EngineRegistryTest, AFailedModelIsLoadedAgainAfterTheBackOff) {
  ASSERT_TRUE(registry_.add("tiny", loader()));
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  break_engine(registry_.find("tiny").value());
  ASSERT_TRUE(eventually([&] { return state() == ModelState::kFailed; }));
  clock_.advance(std::chrono::milliseconds(100));
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  EXPECT_EQ(loads_, 2);
  EXPECT_TRUE(registry_.list()[0].why.empty());
  ASSERT_TRUE(eventually([&] { return factory_.counters().alive == 1; }));
}

TEST_F(EngineRegistryTest, AModelThatWorkedForAMinuteHasItsTriesBack) {
  ASSERT_TRUE(registry_.add("tiny", loader()));
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(eventually([&] { return registry_.ready(); })) << i;
    clock_.advance(std::chrono::minutes(1));
    break_engine(registry_.find("tiny").value());
    ASSERT_TRUE(eventually([&] { return state() == ModelState::kFailed; }));
    clock_.advance(std::chrono::milliseconds(100));
  }
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  EXPECT_EQ(loads_, 7);
}

TEST_F(EngineRegistryTest, ALoaderThatThrowsIsAFailedModelAndNotTheEnd) {
  ASSERT_TRUE(registry_.add(
      "throws", [](const auto&, std::stop_token) -> Result<std::unique_ptr<TextEngine>> {
        throw std::runtime_error("from a library");
      }));
  ASSERT_TRUE(registry_.add("tiny", loader()));
  ASSERT_TRUE(eventually([&] { return state(1) == ModelState::kReady; }));
  EXPECT_EQ(state(0), ModelState::kFailed);
  EXPECT_THAT(registry_.list()[0].why, HasSubstr("from a library"));
}

TEST_F(EngineRegistryTest, DrainingEndsTheStreamsAndTheLoading) {
  ASSERT_TRUE(registry_.add("tiny", loader()));
  ASSERT_TRUE(eventually([&] { return registry_.ready(); }));
  std::atomic<bool> started = false;
  std::atomic<bool> stopped = false;
  ASSERT_TRUE(registry_.add("slow", [&](const auto&, std::stop_token stop) {
    started = true;
    stopped = eventually([&] { return stop.stop_requested(); });
    return fail(ErrorCode::kCancelled, "stopped");
  }));
  ASSERT_TRUE(eventually([&] { return started.load(); }));
  const auto engine = registry_.find("tiny").value();
  registry_.drain(clock_.now() + std::chrono::seconds(1));
  ASSERT_TRUE(eventually([&] { return stopped.load(); }));
  Submission late{.request = {}, .sink = std::make_shared<RecordingSink>()};
  late.request.prompt = {1};
  late.request.max_tokens = 1;
  EXPECT_EQ(engine->generate(std::move(late)).error().error.code, ErrorCode::kUnavailable);
}

TEST_F(EngineRegistryTest, GoingAwayInTheMiddleOfALoadLeavesNothing) {
  {
    EngineRegistry registry(clock_);
    ASSERT_TRUE(registry.add("tiny", loader()));
  }
  EXPECT_EQ(factory_.counters().alive, 0);
}

}  // namespace
}  // namespace gogrid

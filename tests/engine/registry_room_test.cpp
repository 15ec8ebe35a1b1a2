// Models that are loaded when they are asked for, and make room for each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/mutex.h"
#include "engine/make_room.h"
#include "engine/registry_memory.h"

namespace gogrid {
namespace {

using testing::eventually;
using ::testing::HasSubstr;
using testing::kTaken;
using testing::Latch;
using testing::RegistryMemory;
using namespace std::chrono_literals;

// Shorter than a step may take: a stream that hangs for longer fails its engine.
constexpr Duration kKeepAlive = 10s;

// What came of one request.
struct Answer {
  std::atomic<int> calls = 0;  // of ready and refused
  std::atomic<bool> ready = false;
  Mutex mu;
  ModelHold hold GUARDED_BY(mu);
  Error refusal GUARDED_BY(mu);
  std::vector<std::string> told GUARDED_BY(mu);

  void let_go() {
    MutexLock lock(mu);
    hold.reset();
  }
  Error refused() {
    MutexLock lock(mu);
    return refusal;
  }
  std::vector<std::string> heard() {
    MutexLock lock(mu);
    return told;
  }
};

class RegistryRoom : public RegistryMemory {
 protected:
  explicit RegistryRoom(std::optional<Duration> keep_alive = {})
      : RegistryMemory({.keep_alive = keep_alive, .max_waiting = 3}) {}

  void add_resting(const std::string& name) { add(name, kTaken, {.on_demand = true}); }
  // Loaded at once, and there must be room.
  void add_ready(const std::string& name, bool pinned = false) {
    const std::size_t index = registry_.list().size();
    add(name, kTaken, {.pinned = pinned});
    ASSERT_TRUE(comes_to(index, ModelState::kReady));
  }
  std::shared_ptr<Answer> want(const std::string& name, Duration limit = 1min,
                               std::stop_token gone = {}) {
    auto answer = std::make_shared<Answer>();
    auto hold = registry_.want(name, clock_.now() + limit, std::move(gone),
                               {.ready =
                                    [answer](ModelHold there) {
                                      MutexLock lock(answer->mu);
                                      answer->hold = std::move(there);
                                      answer->ready = true;
                                      ++answer->calls;
                                    },
                                .refused =
                                    [answer](const Error& why) {
                                      MutexLock lock(answer->mu);
                                      answer->refusal = why;
                                      ++answer->calls;
                                    },
                                .tell =
                                    [answer](const std::string& why) {
                                      MutexLock lock(answer->mu);
                                      answer->told.push_back(why);
                                    }});
    MutexLock lock(answer->mu);
    if (!hold) answer->refusal = hold.error();
    if (hold && *hold) answer->hold = **hold;
    answer->ready = hold && *hold;
    answer->calls += !hold || *hold;
    return answer;
  }
  ModelState state_of(const std::string& name) const {
    for (const ModelStatus& model : registry_.list()) {
      if (model.name == name) return model.state;
    }
    return ModelState::kFailed;
  }
  bool comes_to_be(const std::string& name, ModelState state) const {
    return eventually([&] { return state_of(name) == state; });
  }
  static bool answered(const std::shared_ptr<Answer>& answer) {
    return eventually([&] { return answer->calls == 1; });
  }
};

class RegistryKeepAlive : public RegistryRoom {
 protected:
  RegistryKeepAlive() : RegistryRoom(kKeepAlive) {}
};

TEST_F(RegistryRoom, AModelOnDemandIsNotLoadedBeforeItIsAskedFor) {
  add_resting("a");
  pass(1h);
  EXPECT_EQ(state_of("a"), ModelState::kResting);
  EXPECT_EQ(loads_, 0);
  EXPECT_EQ(held(), 0U);
  EXPECT_TRUE(registry_.ready());
  EXPECT_EQ(registry_.find("a").error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(registry_.find("a").error().message, HasSubstr("nobody has asked"));
  const auto answer = want("a");
  ASSERT_TRUE(answered(answer));
  EXPECT_TRUE(answer->ready);
  EXPECT_EQ(held(), kTaken);
  EXPECT_EQ(loads_, 1);
}

TEST_F(RegistryRoom, AModelThatIsThereIsHeldAtOnce) {
  add_ready("a");
  const auto answer = want("a", 0s);
  EXPECT_TRUE(answer->ready);
  EXPECT_EQ(answer->calls, 1);
}

TEST_F(RegistryRoom, WhoWaitsHearsHowFarTheLoadingIs) {
  const auto latch = std::make_shared<Latch>();
  add("slow", [latch](const LoadProgress& progress, std::stop_token) {
    progress(0.42);
    latch->wait();
    return fail(ErrorCode::kUnsupported, "no such graph");
  });
  const auto answer = want("slow", 24h);
  EXPECT_TRUE(eventually([&] {
    // A second apart: the first may have been said before there was any progress.
    clock_.advance(1s);
    const auto heard = answer->heard();
    return !heard.empty() && heard.back().contains("loading: 42 %");
  }));
  EXPECT_EQ(registry_.list()[0].waiting, 1U);
  latch->open();
  ASSERT_TRUE(answered(answer));
  EXPECT_FALSE(answer->ready);
  EXPECT_THAT(answer->refused().message, HasSubstr("no such graph"));
}

TEST_F(RegistryRoom, AnIdleModelMakesRoomForOneThatIsAskedFor) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto answer = want("b");
  ASSERT_TRUE(answered(answer));
  EXPECT_TRUE(answer->ready);
  EXPECT_EQ(state_of("a"), ModelState::kResting);
  EXPECT_THAT(registry_.find("a").error().message, HasSubstr("made room for 'b'"));
  EXPECT_EQ(held(), kTaken);
  EXPECT_TRUE(registry_.ready());
}

TEST_F(RegistryRoom, TheLeastRecentlyUsedOfSeveralIdleModelsMakesRoom) {
  ledger_.set_cap("cpu0", 2 * kTaken);
  add_ready("a");
  add_ready("b");
  add_resting("c");
  clock_.advance(10s);
  ASSERT_TRUE(registry_.find("a"));
  ASSERT_TRUE(answered(want("c")));
  EXPECT_EQ(state_of("a"), ModelState::kReady);
  EXPECT_EQ(state_of("b"), ModelState::kResting);
}

TEST_F(RegistryRoom, WhatMadeRoomDoesNotComeBackBeforeItIsAskedFor) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  ASSERT_TRUE(answered(want("b")));
  set_cap(2 * kTaken);
  pass(1h);
  EXPECT_EQ(state_of("a"), ModelState::kResting);
  ASSERT_TRUE(answered(want("a")));
  EXPECT_EQ(held(), 2 * kTaken);
}

TEST_F(RegistryRoom, ABusyModelEndsItsStreamsBeforeItMakesRoom) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto stream = start("a");
  const auto answer = want("b");
  pass(kLeastStay);
  ASSERT_TRUE(comes_to_be("a", ModelState::kLeaving));
  EXPECT_EQ(answer->calls, 0);
  EXPECT_EQ(held(), kTaken);
  EXPECT_EQ(registry_.find("a").error().code, ErrorCode::kExhausted);
  let_go();
  ASSERT_TRUE(stream->wait_for_end());
  EXPECT_FALSE(stream->error());
  ASSERT_TRUE(answered(answer));
  EXPECT_TRUE(answer->ready);
}

TEST_F(RegistryRoom, ABusyModelStaysWhenNobodyWaitsForItsRoomAnyMore) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto stream = start("a");
  std::stop_source gone;
  const auto answer = want("b", 1min, gone.get_token());
  pass(kLeastStay);
  ASSERT_TRUE(comes_to_be("a", ModelState::kLeaving));
  gone.request_stop();
  ASSERT_TRUE(comes_to_be("a", ModelState::kReady));
  let_go();
  ASSERT_TRUE(stream->wait_for_end());
  EXPECT_EQ(answer->calls, 0);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
}

TEST_F(RegistryRoom, WhoeverIsAboutToSendARequestKeepsItsModel) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto holder = want("a");
  const auto answer = want("b");
  pass(1s);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
  EXPECT_EQ(answer->calls, 0);
  holder->let_go();
  ASSERT_TRUE(answered(answer));
  EXPECT_TRUE(answer->ready);
}

TEST_F(RegistryRoom, WhereOnlyPinnedModelsAreLoadedARequestIsRefusedWithTheNumbers) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a", true);
  add_resting("b");
  const auto first = want("b");
  ASSERT_TRUE(answered(first));
  EXPECT_EQ(first->refused().code, ErrorCode::kExhausted);
  EXPECT_THAT(first->refused().message, HasSubstr("1.1 KiB"));
  const auto second = want("b");
  EXPECT_EQ(second->calls, 1);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
}

TEST_F(RegistryRoom, NobodyLeavesForAModelThatCanNeverFit) {
  ledger_.set_cap("cpu0", 2 * kTaken);
  add_ready("a");
  add("huge", 3 * kTaken, {.on_demand = true});
  const auto answer = want("huge");
  ASSERT_TRUE(answered(answer));
  EXPECT_EQ(answer->refused().code, ErrorCode::kDoesNotFit);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
}

TEST_F(RegistryRoom, AModelThatDoesNotLoadIsRefusedAndTheNextIsLoaded) {
  add("bad", [](const auto&, std::stop_token) { return fail(ErrorCode::kCorrupt, "broken"); },
      {.on_demand = true});
  add_resting("b");
  const auto bad = want("bad");
  const auto good = want("b");
  ASSERT_TRUE(answered(bad));
  EXPECT_THAT(bad->refused().message, HasSubstr("broken"));
  ASSERT_TRUE(answered(good));
  EXPECT_TRUE(good->ready);
}

TEST_F(RegistryRoom, AModelIsLoadedForWhoWaitedFirstAndNobodyTakesTheRoomThatIsMade) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  for (const char* name : {"b", "c"}) add_resting(name);
  const auto holder = want("a");
  const auto c = want("c");
  clock_.advance(1ms);
  const auto b = want("b");
  holder->let_go();
  ASSERT_TRUE(answered(c));
  EXPECT_TRUE(c->ready);
  EXPECT_EQ(b->calls, 0);
  c->let_go();
  ASSERT_TRUE(answered(b));
  EXPECT_TRUE(b->ready);
}

TEST_F(RegistryRoom, WhoWaitsForTooLongIsRefusedWithWhatItWaitsFor) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto holder = want("a");
  const auto answer = want("b", 30s);
  pass(29s);
  EXPECT_EQ(answer->calls, 0);
  clock_.advance(1s);
  ASSERT_TRUE(answered(answer));
  EXPECT_TRUE(answer->refused().retry_after);
  EXPECT_THAT(answer->refused().message, HasSubstr("cpu0"));
}

TEST_F(RegistryRoom, SoManyRequestsWaitAndNoMore) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto holder = want("a");
  std::vector<std::shared_ptr<Answer>> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(want("b"));
  const auto refused = want("b");
  EXPECT_EQ(refused->calls, 1);
  EXPECT_EQ(refused->refused().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused->refused().message, HasSubstr("too many"));
  for (const auto& answer : waiting) EXPECT_EQ(answer->calls, 0);
}

TEST_F(RegistryRoom, AModelThatLeftForACapComesBackForWhoWaits) {
  add_ready("a");
  set_cap(kTaken - 1);
  ASSERT_TRUE(comes_to_be("a", ModelState::kUnloaded));
  const auto refused = want("a");
  ASSERT_TRUE(answered(refused));
  EXPECT_FALSE(refused->ready);
  set_cap(kTaken);
  clock_.advance(1s);
  ASSERT_TRUE(comes_to_be("a", ModelState::kReady));
  EXPECT_TRUE(want("a")->ready);
}

TEST_F(RegistryRoom, DrainingRefusesWhoWaits) {
  ledger_.set_cap("cpu0", kTaken);
  add_ready("a");
  add_resting("b");
  const auto holder = want("a");
  const auto waiting = want("b");
  registry_.drain(clock_.now());
  ASSERT_TRUE(answered(waiting));
  EXPECT_THAT(waiting->refused().message, HasSubstr("draining"));
  EXPECT_THAT(want("b")->refused().message, HasSubstr("draining"));
}

TEST_F(RegistryRoom, AnAliasIsTheModel) {
  add_ready("a");
  ASSERT_TRUE(registry_.add_alias("gpt", "a"));
  EXPECT_EQ(registry_.find("gpt").value(), registry_.find("a").value());
  EXPECT_TRUE(want("gpt")->ready);
  EXPECT_THAT(registry_.list()[0].aliases, ::testing::ElementsAre("gpt"));
  EXPECT_EQ(registry_.add_alias("gpt", "a").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(registry_.add_alias("a", "a").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(registry_.add_alias("x", "nobody").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(registry_.find("gtp").error().message, HasSubstr("gpt"));
}

TEST_F(RegistryKeepAlive, AModelThatNobodyUsesRestsAndComesBackWhenItIsAskedFor) {
  add_ready("a");
  pass(kKeepAlive - 1s);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
  pass(1s);
  ASSERT_TRUE(comes_to_be("a", ModelState::kResting));
  EXPECT_THAT(registry_.find("a").error().message, HasSubstr("10s"));
  ASSERT_TRUE(eventually([&] { return held() == 0; }));
  pass(1h);
  EXPECT_EQ(loads_, 1);
  ASSERT_TRUE(answered(want("a")));
  EXPECT_EQ(loads_, 2);
}

TEST_F(RegistryKeepAlive, AModelIsUsedWhileItHasStreamsOrIsAskedFor) {
  add_ready("a");
  const auto stream = start("a");
  pass(2 * kKeepAlive);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
  let_go();
  ASSERT_TRUE(stream->wait_for_end());
  pass(kKeepAlive - 1s);
  ASSERT_TRUE(registry_.find("a"));
  pass(kKeepAlive - 1s);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
}

TEST_F(RegistryKeepAlive, APinnedModelStays) {
  add_ready("a", true);
  pass(2 * kKeepAlive);
  EXPECT_EQ(state_of("a"), ModelState::kReady);
  EXPECT_TRUE(registry_.list()[0].pinned);
}

}  // namespace
}  // namespace gogrid

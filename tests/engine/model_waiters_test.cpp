#include "engine/model_waiters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr TimePoint kStart{1h};
const Error kLoading{ErrorCode::kUnavailable, "is loading: 1 %", "model", {}};

class ModelWaitersTest : public ::testing::Test {
 protected:
  // What it hears is written down with its name.
  void add(const std::string& name, TimePoint now = kStart, Duration limit = 1min,
           std::stop_token gone = {}) {
    waiters_.add(
        now, now + limit, std::move(gone),
        {.ready = [this, name](ModelHold) { heard_.push_back(name + " ready"); },
         .refused = [this, name](
                        const Error& why) { heard_.push_back(name + " refused: " + why.message); },
         .tell = [this, name](const std::string& why) { heard_.push_back(name + ": " + why); }});
  }
  std::vector<std::string> heard(DueCalls due) {
    heard_.clear();
    for (const auto& call : due) call();
    return heard_;
  }
  std::vector<std::string> look(TimePoint now, const Error& why = kLoading) {
    DueCalls due;
    waiters_.look(now, why, due);
    return heard(std::move(due));
  }

  ModelWaiters waiters_;
  std::vector<std::string> heard_;
};

TEST_F(ModelWaitersTest, AllAreCalledInTheirOrderWhenTheModelIsThere) {
  add("a");
  add("b", kStart + 1s);
  EXPECT_EQ(waiters_.size(), 2U);
  EXPECT_EQ(waiters_.since(), kStart);
  DueCalls due;
  waiters_.ready(std::make_shared<const int>(0), due);
  EXPECT_TRUE(waiters_.empty());
  EXPECT_THAT(heard(std::move(due)), ElementsAre("a ready", "b ready"));
}

TEST_F(ModelWaitersTest, WhoHasWaitedForLongEnoughIsRefusedWithWhatIsSoThen) {
  add("a", kStart, 10s);
  add("b", kStart, 20s);
  look(kStart + 1s);
  const Error later{ErrorCode::kUnavailable, "is loading: 42 %", "model", {}};
  EXPECT_THAT(look(kStart + 10s, later),
              ElementsAre("a refused: is loading: 42 %", "b: is loading: 42 %"));
  EXPECT_EQ(waiters_.size(), 1U);
}

TEST_F(ModelWaitersTest, NewsAreToldOnceAfterASecondAndASecondApart) {
  add("a");
  EXPECT_THAT(look(kStart + 1s - 1ns), IsEmpty());
  EXPECT_THAT(look(kStart + 1s), ElementsAre("a: is loading: 1 %"));
  EXPECT_THAT(look(kStart + 5s), IsEmpty());
  const auto at = [](int percent) {
    return Error{ErrorCode::kUnavailable, "at " + std::to_string(percent), "model", {}};
  };
  EXPECT_THAT(look(kStart + 6s, at(2)), ElementsAre("a: at 2"));
  EXPECT_THAT(look(kStart + 7s - 1ns, at(3)), IsEmpty());
  EXPECT_THAT(look(kStart + 7s, at(4)), ElementsAre("a: at 4"));
}

TEST_F(ModelWaitersTest, WhoHasGoneHearsNothingAndIsForgotten) {
  std::stop_source gone;
  add("a", kStart, 1min, gone.get_token());
  add("b");
  gone.request_stop();
  EXPECT_THAT(look(kStart + 1s), ElementsAre("b: is loading: 1 %"));
  EXPECT_EQ(waiters_.size(), 1U);
}

TEST_F(ModelWaitersTest, WhoGoesBeforeItsCallIsMadeHearsNothing) {
  std::stop_source gone;
  add("a", kStart, 1min, gone.get_token());
  DueCalls ready;
  waiters_.ready(std::make_shared<const int>(0), ready);
  add("b", kStart, 1min, gone.get_token());
  DueCalls refused;
  waiters_.refuse(kLoading, refused);
  gone.request_stop();
  EXPECT_THAT(heard(std::move(ready)), IsEmpty());
  EXPECT_THAT(heard(std::move(refused)), IsEmpty());
}

TEST_F(ModelWaitersTest, AllAreRefusedAtOnceWhenWaitingIsInVain) {
  add("a");
  add("b");
  DueCalls due;
  waiters_.refuse({ErrorCode::kDoesNotFit, "never", "model", {}}, due);
  EXPECT_THAT(heard(std::move(due)), ElementsAre("a refused: never", "b refused: never"));
  EXPECT_TRUE(waiters_.empty());
}

}  // namespace
}  // namespace gogrid

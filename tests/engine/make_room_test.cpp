#include "engine/make_room.h"

#include <gtest/gtest.h>

#include <vector>

namespace gogrid {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kNow{1h};
constexpr TimePoint kLongAgo = kNow - 1min;

LoadedModel idle(const std::string& name, Duration ago) {
  return {.name = name, .used = kNow - ago, .ready_since = kLongAgo};
}
LoadedModel busy(const std::string& name, Duration ago = 0s) {
  LoadedModel model = idle(name, ago);
  model.busy = true;
  return model;
}
std::optional<std::string> chosen(const std::vector<LoadedModel>& models,
                                  TimePoint waits_since = kLongAgo) {
  return choose_for_room(models, waits_since, kNow);
}

TEST(MakeRoom, TheIdleModelThatWasNotUsedForLongestGoesFirst) {
  EXPECT_EQ(chosen({idle("a", 1s), idle("b", 30s), idle("c", 2s)}), "b");
}

TEST(MakeRoom, AnIdleModelGoesBeforeABusyOneWhateverTheirAge) {
  EXPECT_EQ(chosen({busy("a", 30s), idle("b", 0s)}), "b");
}

TEST(MakeRoom, AnIdleModelGoesAtOnceHoweverShortItWasThere) {
  LoadedModel fresh = idle("a", 0s);
  fresh.ready_since = kNow;
  EXPECT_EQ(chosen({fresh}, kNow), "a");
}

TEST(MakeRoom, ABusyModelIsAskedToOnlyForWhoHasWaitedForAWhile) {
  const std::vector<LoadedModel> models{busy("a")};
  EXPECT_EQ(chosen(models, kNow - kPatience + 1ns), std::nullopt);
  EXPECT_EQ(chosen(models, kNow - kPatience), "a");
}

TEST(MakeRoom, ABusyModelIsAskedToOnlyAfterItServedForAWhile) {
  LoadedModel fresh = busy("a");
  fresh.ready_since = kNow - kLeastStay + 1ns;
  EXPECT_EQ(chosen({fresh}), std::nullopt);
  fresh.ready_since = kNow - kLeastStay;
  EXPECT_EQ(chosen({fresh}), "a");
  EXPECT_EQ(chosen({fresh, busy("b", 1s)}), "b");
}

TEST(MakeRoom, APinnedModelNeverGoes) {
  LoadedModel pinned = idle("a", 1h);
  pinned.pinned = true;
  EXPECT_EQ(chosen({pinned}), std::nullopt);
  EXPECT_EQ(chosen({pinned, idle("b", 1s)}), "b");
  EXPECT_FALSE(can_make_room(std::vector{pinned}));
  EXPECT_TRUE(can_make_room(std::vector{pinned, busy("b")}));
}

TEST(MakeRoom, WhereNothingIsLoadedNobodyCan) {
  EXPECT_EQ(chosen({}), std::nullopt);
  EXPECT_FALSE(can_make_room({}));
}

}  // namespace
}  // namespace gogrid

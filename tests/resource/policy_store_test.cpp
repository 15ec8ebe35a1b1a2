#include "resource/policy_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <random>
#include <stdexcept>
#include <thread>

#include "support/slowness.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Settings = std::vector<PolicySetting>;

class PolicyStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<PolicyStore> open(ResourceMode mode = ResourceMode::kBalanced) {
    auto store = PolicyStore::open(ResourcePolicy::of(mode), file());
    EXPECT_TRUE(store) << store.error().message;
    return *std::move(store);
  }
  std::filesystem::path file() const { return folder_.path() / "policy.json"; }
  void write(std::string_view text) const { std::ofstream(file()) << text; }

  const testing::TemporaryFolder folder_;
};

TEST_F(PolicyStoreTest, BeginsWithWhatIsConfigured) {
  EXPECT_EQ(*open()->current(), ResourcePolicy::of(ResourceMode::kBalanced));
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(PolicyStoreTest, AChangeIsInForceAtOnceAndOutlivesTheProcess) {
  {
    const auto store = open();
    const auto changed = store->change(Settings{{"max_compute", 0.25}}, "test");
    ASSERT_TRUE(changed);
    EXPECT_EQ((*changed)->max_compute.millionths(), 250'000U);
    EXPECT_EQ(store->current(), *changed);
  }
  EXPECT_EQ(open()->current()->max_compute.millionths(), 250'000U);
  // Over whatever is configured then.
  const auto store = open(ResourceMode::kAggressive);
  EXPECT_EQ(store->current()->max_compute.millionths(), 250'000U);
  EXPECT_EQ(store->current()->max_batch, 16U);
}

TEST_F(PolicyStoreTest, AModeTakesEarlierChangesWithIt) {
  {
    const auto store = open();
    ASSERT_TRUE(store->change(Settings{{"nice", std::int64_t{3}}}, "test"));
    ASSERT_TRUE(store->change(Settings{{"devices.cpu0.max_compute", 0.5}}, "test"));
    ASSERT_TRUE(store->change(Settings{{"mode", std::string("conservative")}}, "test"));
    ASSERT_TRUE(store->change(Settings{{"max_batch", std::int64_t{3}}}, "test"));
    EXPECT_THAT(store->changes(), SizeIs(3));
  }
  auto expected = ResourcePolicy::of(ResourceMode::kConservative);
  expected.max_batch = 3;
  expected.devices["cpu0"].max_compute = Share::of(0.5);
  EXPECT_EQ(*open()->current(), expected);
}

TEST_F(PolicyStoreTest, ABadSettingChangesNothingOfItsCompany) {
  const auto store = open();
  const auto before = store->current();
  const auto refused = store->change(
      Settings{{"nice", std::int64_t{3}}, {"max_compute", 70.0}, {"io_class", std::int64_t{-1}}},
      "test");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().param, "max_compute");
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr("max_compute"), HasSubstr("io_class")));
  EXPECT_EQ(store->current(), before);
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(PolicyStoreTest, AChangeThatCannotBeKeptIsNotMade) {
  const auto nowhere = folder_.path() / "none" / "policy.json";
  const auto store = *PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), nowhere);
  const auto before = store->current();
  const auto refused = store->change(Settings{{"nice", std::int64_t{3}}}, "test");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->current(), before);
}

TEST_F(PolicyStoreTest, AResetGoesBackToWhatIsConfigured) {
  const auto store = open();
  ASSERT_TRUE(store->change(Settings{{"nice", std::int64_t{3}}}, "test"));
  ASSERT_TRUE(store->reset("test"));
  EXPECT_EQ(*store->current(), ResourcePolicy::of(ResourceMode::kBalanced));
  EXPECT_THAT(open()->changes(), IsEmpty());
}

TEST_F(PolicyStoreTest, TwoOfThemOnOneFileKeepEachOthersChanges) {
  const auto a = open();
  const auto b = open();
  ASSERT_TRUE(a->change(Settings{{"max_compute", 0.1}}, "test"));
  ASSERT_TRUE(b->change(Settings{{"nice", std::int64_t{3}}}, "test"));
  EXPECT_EQ(b->current()->max_compute, Share::percent(10));
  const auto next = open();
  EXPECT_EQ(next->current()->max_compute, Share::percent(10));
  EXPECT_EQ(next->current()->nice, 3);
}

TEST_F(PolicyStoreTest, AListenerThatThrowsKeepsNobodyElseFromHearing) {
  const auto store = open();
  int heard = 0;
  bool throws = false;
  store->listen([&](const PolicyStore::Snapshot&) {
    if (throws) throw std::runtime_error("no memory");
  });
  store->listen([&](const PolicyStore::Snapshot&) { ++heard; });
  throws = true;
  EXPECT_TRUE(store->change(Settings{{"nice", std::int64_t{3}}}, "test"));
  EXPECT_EQ(heard, 2);
}

TEST_F(PolicyStoreTest, AConservativeHourTakesNoMoreThanWhatIsConfigured) {
  auto configured = ResourcePolicy::of(ResourceMode::kBalanced);
  configured.max_compute = Share::percent(20);
  configured.nice = 19;
  const auto store = *PolicyStore::open(configured, file());
  store->schedule(ResourceMode::kConservative);
  auto expected = ResourcePolicy::of(ResourceMode::kConservative);
  expected.max_compute = Share::percent(20);
  expected.nice = 19;
  EXPECT_EQ(*store->current(), expected);
  store->schedule(ResourceMode::kAggressive);
  EXPECT_EQ(*store->current(), ResourcePolicy::of(ResourceMode::kAggressive));
}

TEST_F(PolicyStoreTest, TheScheduleStandsBetweenWhatIsConfiguredAndWhatPeopleChanged) {
  const auto store = open();
  ASSERT_TRUE(store->change(Settings{{"max_batch", std::int64_t{7}}}, "test"));
  store->schedule(ResourceMode::kConservative);
  auto expected = ResourcePolicy::of(ResourceMode::kConservative);
  expected.max_batch = 7;
  EXPECT_EQ(*store->current(), expected);
  ASSERT_TRUE(store->reset("test"));
  EXPECT_EQ(*store->current(), ResourcePolicy::of(ResourceMode::kConservative));
  // Whoever names a mode means it, at any hour.
  ASSERT_TRUE(store->change(Settings{{"mode", std::string("aggressive")}}, "test"));
  EXPECT_EQ(*store->current(), ResourcePolicy::of(ResourceMode::kAggressive));
  ASSERT_TRUE(store->reset("test"));
  store->schedule({});
  EXPECT_EQ(*store->current(), ResourcePolicy::of(ResourceMode::kBalanced));
}

TEST_F(PolicyStoreTest, TakingBackWhatADeviceNeverHadLeavesNothingInTheFile) {
  const auto store = open();
  ASSERT_TRUE(store->change(Settings{{"devices.gone.max_compute", std::monostate{}}}, "test"));
  EXPECT_THAT(store->changes(), IsEmpty());
  ASSERT_TRUE(store->change(Settings{{"devices.cpu0.max_compute", 0.5}}, "test"));
  EXPECT_THAT(store->changes(), SizeIs(1));
  ASSERT_TRUE(store->change(Settings{{"devices.cpu0.max_compute", std::monostate{}}}, "test"));
  EXPECT_THAT(store->changes(), IsEmpty());
}

TEST_F(PolicyStoreTest, TakingBackWhatIsConfiguredForADeviceIsKept) {
  auto configured = ResourcePolicy::of(ResourceMode::kBalanced);
  configured.devices["cpu0"].max_compute = Share::of(0.5);
  const auto store = *PolicyStore::open(configured, file());
  ASSERT_TRUE(store->change(Settings{{"devices.cpu0.max_compute", std::monostate{}}}, "test"));
  EXPECT_THAT(store->changes(), SizeIs(1));
  EXPECT_EQ((*PolicyStore::open(configured, file()))->current()->compute_of("cpu0"),
            Share::percent(80));
}

TEST_F(PolicyStoreTest, ADeviceWhoseIdWouldNotComeBackFromTheFileIsRefused) {
  const auto store = open();
  for (const std::string& id : {std::string("\xff"), std::string(129, 'a'), std::string("a b")}) {
    EXPECT_FALSE(store->change(Settings{{"devices." + id + ".max_compute", 0.5}}, "test")) << id;
  }
  EXPECT_TRUE(
      store->change(Settings{{"devices." + std::string(128, 'a') + ".max_compute", 0.5}}, "test"));
}

TEST_F(PolicyStoreTest, ListenersAreToldOfWhatIsAndOfEachChange) {
  const auto store = open();
  std::vector<std::uint32_t> seen;
  store->listen([&](const PolicyStore::Snapshot& policy) { seen.push_back(policy->max_batch); });
  ASSERT_TRUE(store->change(Settings{{"max_batch", std::int64_t{9}}}, "test"));
  ASSERT_FALSE(store->change(Settings{{"max_batch", std::int64_t{0}}}, "test"));
  ASSERT_TRUE(store->reset("test"));
  EXPECT_THAT(seen, ::testing::ElementsAre(4, 9, 4));
}

TEST_F(PolicyStoreTest, ADamagedFileIsNoStartRatherThanALimitThatIsGone) {
  for (const char* bad : {"", "{", R"({"max_compute": 7})", R"({"max_speed": 0.5})", "[]"}) {
    write(bad);
    const auto store = PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), file());
    ASSERT_FALSE(store) << bad;
    EXPECT_EQ(store.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(store.error().message, AllOf(HasSubstr(file().string()), HasSubstr("remove")));
  }
}

TEST_F(PolicyStoreTest, ManyFaultsAreAShortAnswer) {
  const auto store = open();
  Settings settings(10'000, {std::string(1000, 'x'), 1.0});
  const auto refused = store->change(settings, "test");
  ASSERT_FALSE(refused);
  EXPECT_LT(refused.error().message.size(), 16'384U);
  EXPECT_THAT(refused.error().message, HasSubstr("and 9968 more"));
}

// Writers set two values together; no reader ever sees one without the other.
TEST_F(PolicyStoreTest, NobodySeesHalfAChange) {
  const auto store = open();
  const int each = 300 / std::min(testing::kSlowness, 10);
  ASSERT_TRUE(
      store->change(Settings{{"nice", std::int64_t{1}}, {"max_batch", std::int64_t{1}}}, "t"));
  std::atomic<bool> done{false};
  std::jthread writer([&] {
    for (int i = 0; i < each; ++i) {
      const std::int64_t value = 1 + i % 19;
      EXPECT_TRUE(store->change(Settings{{"nice", value}, {"max_batch", value}}, "test"));
    }
    done = true;
  });
  while (!done) {
    const auto policy = store->current();
    ASSERT_EQ(policy->nice, static_cast<std::int32_t>(policy->max_batch));
  }
}

}  // namespace
}  // namespace gogrid

#include "model/byte_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ByteSet, JoinsWhatTouches) {
  ByteSet set;
  set.add({10, 20});
  set.add({30, 40});
  EXPECT_THAT(set.ranges(), ElementsAre(ByteRange{10, 20}, ByteRange{30, 40}));
  set.add({20, 30});
  EXPECT_THAT(set.ranges(), ElementsAre(ByteRange{10, 40}));
  set.add({5, 5});
  set.add({12, 15});
  EXPECT_THAT(set.ranges(), ElementsAre(ByteRange{10, 40}));
  EXPECT_EQ(set.prefix(), 0U);
  set.add({0, 11});
  EXPECT_EQ(set.prefix(), 40U);
}

TEST(ByteSet, IsWhatASetOfNumbersIs) {
  std::mt19937 random(7);
  const auto below = [&](unsigned end) { return random() % end; };
  for (int round = 0; round < 200; ++round) {
    ByteSet set;
    std::set<Bytes> plain;
    for (int i = 0; i < 12; ++i) {
      const Bytes first = below(100);
      const Bytes last = first + below(20);
      set.add({first, last});
      for (Bytes byte = first; byte < last; ++byte) plain.insert(byte);
    }
    EXPECT_EQ(set.total(), plain.size());
    Bytes prefix = 0;
    while (plain.contains(prefix)) ++prefix;
    EXPECT_EQ(set.prefix(), prefix);
    const auto gap = set.first_gap(120);
    ASSERT_TRUE(gap);
    EXPECT_EQ(gap->first, prefix);
    for (Bytes byte = gap->first; byte < gap->last; ++byte) EXPECT_FALSE(plain.contains(byte));
    EXPECT_TRUE(gap->last == 120 || plain.contains(gap->last));
    for (std::size_t i = 1; i < set.ranges().size(); ++i)
      EXPECT_GT(set.ranges()[i].first, set.ranges()[i - 1].last);
  }
}

TEST(RangePlan, HandsOutWhatIsMissingLowestFirst) {
  ByteSet present;
  present.add({0, 10});
  present.add({50, 60});
  RangePlan plan(100, present, 30);
  EXPECT_EQ(plan.next(), (ByteRange{10, 40}));
  EXPECT_EQ(plan.next(), (ByteRange{40, 50}));
  EXPECT_EQ(plan.next(), (ByteRange{60, 90}));
  EXPECT_EQ(plan.next(), (ByteRange{90, 100}));
  EXPECT_FALSE(plan.next());
  EXPECT_FALSE(plan.whole()) << "handed out is not there";
  plan.came({10, 50});
  plan.came({60, 100});
  EXPECT_TRUE(plan.whole());
}

TEST(RangePlan, TakesAllWhateverIsThere) {
  RangePlan plan(100, {}, 60);
  plan.came(*plan.next());
  EXPECT_EQ(plan.take_all(), (ByteRange{0, 100}));
  EXPECT_FALSE(plan.next());
  EXPECT_EQ(plan.present().total(), 60U);
}

}  // namespace
}  // namespace gogrid

#include "base/gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace gogrid {
namespace {

TEST(Gate, LetsInUntilItCloses) {
  Gate gate;
  const auto pass = gate.enter();
  ASSERT_TRUE(pass);
  gate.begin_close();
  EXPECT_FALSE(gate.enter());
  EXPECT_EQ(gate.inside(), 1U);
}

TEST(Gate, AMovedPassLeavesOnce) {
  Gate gate;
  auto first = gate.enter();
  Gate::Pass second = std::move(*first);
  first.reset();
  EXPECT_EQ(gate.inside(), 1U);
  {
    const Gate::Pass third = std::move(second);
  }
  EXPECT_EQ(gate.inside(), 0U);
}

TEST(Gate, ClosingWaitsForTheLastOneOut) {
  Gate gate;
  auto pass = gate.enter();
  std::atomic<bool> closed{false};
  std::jthread closer([&] {
    gate.close();
    closed = true;
  });
  while (gate.enter()) std::this_thread::yield();
  EXPECT_FALSE(closed);
  pass.reset();
  closer.join();
  EXPECT_TRUE(closed);
}

TEST(Gate, ManyThreadsInAndOutLeaveNobodyInside) {
  Gate gate;
  std::atomic<int> inside{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (auto pass = gate.enter()) {
        ++inside;
        --inside;
      }
    });
  }
  gate.close();
  EXPECT_EQ(inside, 0);
  EXPECT_EQ(gate.inside(), 0U);
}

}  // namespace
}  // namespace gogrid

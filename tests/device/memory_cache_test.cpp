#include "device/memory_cache.h"

#include <gtest/gtest.h>

#include "support/manual_clock.h"

namespace gogrid {
namespace {

using gogrid::testing::ManualClock;

TEST(MemoryCache, AsksAgainOnlyOnceTheReadingIsOld) {
  ManualClock clock;
  Bytes asked = 0;
  MemoryCache cache([&](std::size_t) { return MemoryReading{.total = 100, .free = ++asked}; },
                    clock, std::chrono::milliseconds(250));
  EXPECT_EQ(cache.read(0).free, 1U);
  clock.advance(std::chrono::milliseconds(249));
  EXPECT_EQ(cache.read(0).free, 1U);
  clock.advance(std::chrono::milliseconds(1));
  EXPECT_EQ(cache.read(0).free, 2U);
}

TEST(MemoryCache, KeepsDevicesApart) {
  ManualClock clock;
  MemoryCache cache([](std::size_t key) { return MemoryReading{.total = key, .free = {}}; }, clock,
                    std::chrono::seconds(1));
  EXPECT_EQ(cache.read(7).total, 7U);
  EXPECT_EQ(cache.read(9).total, 9U);
  EXPECT_EQ(cache.read(7).total, 7U);
}

}  // namespace
}  // namespace gogrid

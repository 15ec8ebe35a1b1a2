#include "resource/memory_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <limits>
#include <random>
#include <thread>

#include "base/share.h"
#include "support/slowness.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Bytes kMost = std::numeric_limits<Bytes>::max();
constexpr Bytes kExact = Bytes{1} << 53;  // of a double

using Leases = std::vector<MemoryLedger::Lease>;

Result<Leases> take(MemoryLedger& ledger, Bytes bytes, const std::string& device = "cpu0",
                    MemoryUse use = MemoryUse::kWeights, const std::string& holder = "m") {
  return ledger.acquire(std::array{MemoryRequest{device, use, holder, bytes}});
}

Bytes held(const MemoryLedger& ledger, const std::string& device = "cpu0") {
  for (const DeviceMemory& memory : ledger.list()) {
    if (memory.device == device) return memory.held;
  }
  return kMost;
}

TEST(MemoryLedger, GrantsUpToTheCapAndNotAByteMore) {
  for (const Bytes cap : {Bytes{0}, Bytes{1}, kExact - 1, kExact, kExact + 1, kMost - 1, kMost}) {
    MemoryLedger ledger;
    ledger.set_cap("cpu0", cap);
    EXPECT_TRUE(take(ledger, 0));
    if (cap < kMost) {
      const auto refused = take(ledger, cap + 1);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
    }
    const auto most = take(ledger, cap > 0 ? cap - 1 : 0);
    ASSERT_TRUE(most);
    const auto last = take(ledger, cap > 0 ? 1 : 0);
    ASSERT_TRUE(last);
    const auto refused = take(ledger, 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, cap > 0 ? ErrorCode::kExhausted : ErrorCode::kDoesNotFit);
    EXPECT_EQ(held(ledger), cap);
  }
}

TEST(MemoryLedger, SumsNeverWrap) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", kMost);
  const auto first = take(ledger, kMost - 1);
  ASSERT_TRUE(first);
  EXPECT_FALSE(take(ledger, kMost));
  EXPECT_FALSE(take(ledger, 2));
  EXPECT_EQ(held(ledger), kMost - 1);
}

TEST(MemoryLedger, CapsOfSharesHoldAtTheirEnds) {
  for (const Bytes total : {Bytes{0}, Bytes{1}, kExact + 1, kMost}) {
    MemoryLedger ledger;
    ledger.set_cap("none", Share().floor_of(total));
    ledger.set_cap("all", Share::of_millionths(Share::kWhole).floor_of(total));
    EXPECT_FALSE(take(ledger, 1, "none"));
    EXPECT_TRUE(take(ledger, total, "all"));
  }
}

TEST(MemoryLedger, ALeaseGivesItselfBackOnce) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  {
    auto leases = take(ledger, 60);
    ASSERT_TRUE(leases);
    MemoryLedger::Lease moved = std::move(leases->front());
    EXPECT_EQ(moved.bytes(), 60U);
    EXPECT_EQ(leases->front().bytes(), 0U);
    leases->clear();
    EXPECT_EQ(held(ledger), 60U);
  }
  EXPECT_EQ(held(ledger), 0U);
  EXPECT_TRUE(ledger.list()[0].holders.empty());
}

TEST(MemoryLedger, ALeaseBecomesWhatWasReallyTaken) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  auto one = *take(ledger, 60);
  auto two = *take(ledger, 30, "cpu0", MemoryUse::kKv, "another");
  EXPECT_TRUE(one[0].resize(70));
  const auto refused = one[0].resize(71);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(one[0].bytes(), 70U);
  EXPECT_TRUE(two[0].resize(0));
  EXPECT_EQ(held(ledger), 70U);
  EXPECT_FALSE(one[0].resize(kMost));
  EXPECT_EQ(held(ledger), 70U);
}

TEST(MemoryLedger, GivesAllOfAPlanOrNothing) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  ledger.set_cap("vulkan0", 50);
  const auto plan = [](Bytes first, Bytes second, Bytes third) {
    return std::array{MemoryRequest{"cpu0", MemoryUse::kWeights, "m", first},
                      MemoryRequest{"cpu0", MemoryUse::kKv, "m", second},
                      MemoryRequest{"vulkan0", MemoryUse::kWeights, "m", third}};
  };
  EXPECT_FALSE(ledger.acquire(plan(60, 41, 10)));
  EXPECT_FALSE(ledger.acquire(plan(60, 40, 51)));
  EXPECT_EQ(held(ledger), 0U);
  EXPECT_EQ(held(ledger, "vulkan0"), 0U);
  const auto leases = ledger.acquire(plan(60, 40, 50));
  ASSERT_TRUE(leases);
  EXPECT_EQ(leases->size(), 3U);
  EXPECT_EQ(held(ledger), 100U);
}

TEST(MemoryLedger, ARefusalNamesDeviceAskedHeldCapAndHolders) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 1000 * kMiB);
  const auto weights = take(ledger, 600 * kMiB, "cpu0", MemoryUse::kWeights, "big");
  const auto cache = take(ledger, 100 * kMiB, "cpu0", MemoryUse::kKv, "big");
  const auto refused = take(ledger, 300 * kMiB + 1, "cpu0", MemoryUse::kWeights, "small");
  ASSERT_FALSE(refused);
  EXPECT_THAT(
      refused.error().message,
      AllOf(HasSubstr("cpu0"), HasSubstr("300.0 MiB of weights for small"),
            HasSubstr("held 700.0 MiB"), HasSubstr("cap 1000.0 MiB"), HasSubstr("short by 1 bytes"),
            HasSubstr("600.0 MiB weights of big"), HasSubstr("100.0 MiB KV cache of big")));
}

TEST(MemoryLedger, WhatNeverFitsIsNotToldToComeLater) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  const std::array plan{MemoryRequest{"cpu0", MemoryUse::kWeights, "m", 60},
                        MemoryRequest{"cpu0", MemoryUse::kKv, "m", 60}};
  EXPECT_EQ(ledger.acquire(plan).error().code, ErrorCode::kDoesNotFit);
  auto lease = *take(ledger, 60);
  EXPECT_EQ(lease[0].resize(150).error().code, ErrorCode::kDoesNotFit);
  const auto other = take(ledger, 30, "cpu0", MemoryUse::kKv, "another");
  EXPECT_EQ(lease[0].resize(90).error().code, ErrorCode::kExhausted);
}

TEST(MemoryLedger, ARefusalStaysShortHoweverManyHold) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 1000);
  std::vector<Leases> all;
  for (int i = 0; i < 1000; ++i) all.push_back(*take(ledger, 1));
  EXPECT_LT(take(ledger, 1).error().message.size(), 1000U);
}

TEST(MemoryLedger, AnUnknownDeviceHasNothingToGive) {
  MemoryLedger ledger;
  EXPECT_EQ(take(ledger, 0, "gone").error().code, ErrorCode::kDoesNotFit);
  EXPECT_FALSE(ledger.room_of("gone"));
}

TEST(MemoryLedger, ACapBelowWhatIsHeldGrantsNothingUntilEnoughIsGivenBack) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  auto one = *take(ledger, 60);
  auto two = *take(ledger, 40);
  ledger.set_cap("cpu0", 50);
  EXPECT_EQ(ledger.excess("cpu0"), 50U);
  EXPECT_FALSE(take(ledger, 1));
  EXPECT_FALSE(two[0].resize(41));
  one.clear();
  EXPECT_EQ(ledger.excess("cpu0"), 0U);
  EXPECT_TRUE(take(ledger, 10));
  EXPECT_FALSE(take(ledger, 11));
}

TEST(MemoryLedger, RoomIsWhatCouldBeGranted) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  const auto cpu = ledger.room_of("cpu0");
  ASSERT_TRUE(cpu);
  EXPECT_EQ(cpu->bytes(), 100U);
  auto lease = *take(ledger, 30);
  EXPECT_EQ(cpu->bytes(), 70U);
  ledger.set_cap("cpu0", 20);
  EXPECT_EQ(cpu->bytes(), 0U);
  lease.clear();
  EXPECT_EQ(cpu->bytes(), 20U);
}

TEST(MemoryLedger, AnAssignedLeaseGivesBackWhatItHeldAtOnce) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  auto one = *take(ledger, 60);
  auto two = *take(ledger, 40);
  one[0] = std::move(two[0]);
  EXPECT_EQ(held(ledger), 40U);  // while `two` lives
  EXPECT_EQ(one[0].bytes(), 40U);
  EXPECT_EQ(two[0].bytes(), 0U);
  EXPECT_EQ(two[0].resize(1).error().code, ErrorCode::kInternal);
  MemoryLedger::Lease& self = one[0];
  one[0] = std::move(self);
  EXPECT_EQ(one[0].bytes(), 40U);
  one.clear();
  EXPECT_EQ(held(ledger), 0U);
}

TEST(MemoryLedger, HasAnAccountForHoweverManyDevices) {
  MemoryLedger ledger;
  for (Bytes i = 0; i < 600; ++i) ledger.set_cap("device" + std::to_string(i), i + 1);
  const auto first = ledger.room_of("device0");
  ledger.set_cap("one more", 1);
  EXPECT_TRUE(take(ledger, 600, "device599"));
  EXPECT_FALSE(take(ledger, 601, "device599"));
  EXPECT_EQ(first->bytes(), 1U);
}

TEST(MemoryLedger, DevicesDoNotTouchEachOther) {
  MemoryLedger ledger;
  ledger.set_cap("a", 100);
  ledger.set_cap("b", 10);
  const auto all_of_b = take(ledger, 10, "b");
  EXPECT_TRUE(take(ledger, 100, "a"));
  ledger.set_cap("b", 0);
  EXPECT_EQ(ledger.excess("b"), 10U);
  EXPECT_EQ(ledger.excess("a"), 0U);
  EXPECT_TRUE(take(ledger, 100, "a"));
}

TEST(MemoryLedger, ARefusalSpeaksOfAllThatAPlanAsksOfADevice) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  const std::array plan{MemoryRequest{"cpu0", MemoryUse::kWeights, "m", 60},
                        MemoryRequest{"cpu0", MemoryUse::kWeights, "m", 1},
                        MemoryRequest{"cpu0", MemoryUse::kKv, "m", 60}};
  EXPECT_THAT(ledger.acquire(plan).error().message,
              AllOf(HasSubstr("asked for 121 B of weights, KV cache for m"),
                    HasSubstr("short by 21 bytes; held by nobody")));
  EXPECT_EQ(ledger
                .acquire(std::array{MemoryRequest{"cpu0", MemoryUse::kWeights, "m", kMost},
                                    MemoryRequest{"cpu0", MemoryUse::kKv, "m", kMost}})
                .error()
                .code,
            ErrorCode::kDoesNotFit);
}

TEST(MemoryLedger, ALookTakesNothingAndSaysWhatWouldBeSaid) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 100);
  const auto ask = [](Bytes bytes) {
    return std::array{MemoryRequest{"cpu0", MemoryUse::kWeights, "m", bytes}};
  };
  EXPECT_TRUE(ledger.check(ask(100)));
  EXPECT_EQ(held(ledger), 0U);
  EXPECT_EQ(ledger.check(ask(101)).error().message, take(ledger, 101).error().message);
}

// Threads that take, resize and give back on devices they share: never above a cap, and at the end
// nothing is held.
TEST(MemoryLedger, HoldsItsCapsAgainstThreadsThatRace) {
  constexpr Bytes kCap = 1000;
  MemoryLedger ledger;
  ledger.set_cap("a", kCap);
  ledger.set_cap("b", kCap);
  const int each = 100'000 / testing::kSlowness;
  std::atomic<Bytes> really{0};  // of a, by those who hold it
  std::atomic<int> faults{0};
  const auto race = [&](unsigned seed) {
    std::minstd_rand random(seed);
    Leases kept;
    for (int i = 0; i < each; ++i) {
      const Bytes bytes = random() % 400;
      auto leases = ledger.acquire(std::array{MemoryRequest{"a", MemoryUse::kKv, "m", bytes},
                                              MemoryRequest{"b", MemoryUse::kKv, "m", bytes}});
      if (!leases) continue;
      if (really.fetch_add(bytes) + bytes > kCap) ++faults;
      if (random() % 2 == 0 && !(*leases)[1].resize(bytes / 2)) ++faults;
      really.fetch_sub(bytes);
      leases->erase(leases->begin());
      if (random() % 8 == 0) kept = *std::move(leases);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(race, seed);
  }
  EXPECT_EQ(faults, 0);
  EXPECT_EQ(held(ledger, "a"), 0U);
  EXPECT_EQ(held(ledger, "b"), 0U);
}

}  // namespace
}  // namespace gogrid

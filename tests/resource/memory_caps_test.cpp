#include "resource/memory_caps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>

namespace gogrid {
namespace {

using ::testing::ElementsAre;

constexpr Bytes kMost = std::numeric_limits<Bytes>::max();
constexpr Bytes kExact = Bytes{1} << 53;  // of a double

Device device(const std::string& id, DeviceKind kind, std::optional<Bytes> total,
              std::optional<Bytes> budget = {}) {
  Device device;
  device.id = id;
  device.kind = kind;
  device.memory_total = total;
  device.memory_budget = budget;
  return device;
}
Device cpu(const std::string& id, std::optional<Bytes> total, std::optional<Bytes> budget = {}) {
  return device(id, DeviceKind::kCpu, total, budget);
}
Device gpu(const std::string& id, std::optional<Bytes> total, std::optional<Bytes> budget = {}) {
  return device(id, DeviceKind::kGpu, total, budget);
}

ResourcePolicy share(std::uint64_t millionths) {
  ResourcePolicy policy;
  policy.max_device_memory = Share::of_millionths(millionths);
  return policy;
}

std::vector<Bytes> caps(const std::vector<Device>& devices, const ResourcePolicy& policy) {
  std::vector<Bytes> bytes;
  for (const MemoryCap& cap : memory_caps(devices, policy)) bytes.push_back(cap.bytes);
  return bytes;
}

TEST(MemoryCaps, AreTheFloorOfWholeBytes) {
  for (const Bytes total : {Bytes{0}, Bytes{1}, kExact - 1, kExact + 1, kMost}) {
    EXPECT_THAT(caps({gpu("g", total)}, share(0)), ElementsAre(0U));
    EXPECT_THAT(caps({gpu("g", total)}, share(Share::kWhole)), ElementsAre(total));
    EXPECT_THAT(caps({gpu("g", total)}, share(500'000)), ElementsAre(total / 2));
  }
  EXPECT_THAT(caps({gpu("g", 1'000'001)}, share(999'999)), ElementsAre(999'999U));
  EXPECT_THAT(caps({gpu("g", kMost)}, share(999'999)), ElementsAre(kMost - kMost / 1'000'000 - 1));
}

TEST(MemoryCaps, AreOfTheLimitGivenWhereThatIsLess) {
  EXPECT_THAT(caps({gpu("a", 100, 40), gpu("b", 100, 400), cpu("c", 100, 60)}, share(500'000)),
              ElementsAre(20U, 50U, 30U));
}

TEST(MemoryCaps, ADevicesOwnShareGoesBeforeThatOfAll) {
  ResourcePolicy policy = share(500'000);
  policy.devices["b"].max_device_memory = Share::percent(10);
  policy.devices["c"].max_compute = Share::percent(10);
  EXPECT_THAT(caps({gpu("a", 100), gpu("b", 100), gpu("c", 100)}, policy),
              ElementsAre(50U, 10U, 50U));
}

TEST(MemoryCaps, SetsOfCoresShareTheMemoryOfTheirHost) {
  const auto whole = share(Share::kWhole);
  EXPECT_THAT(caps({cpu("a", 100), cpu("b", 100)}, whole), ElementsAre(50U, 50U));
  EXPECT_THAT(caps({cpu("a", 100), gpu("g", 70), cpu("b", 100, 30), cpu("c", 100)}, whole),
              ElementsAre(35U, 70U, 30U, 35U));
  EXPECT_THAT(caps({cpu("a", 100, 80), cpu("b", 100, 80), cpu("c", 100)}, whole),
              ElementsAre(80U, 20U, 0U));
}

TEST(MemoryCaps, MemoryThatNobodyKnowsIsNoBoundButAShareOfNothingIs) {
  EXPECT_THAT(caps({gpu("g", {}), cpu("c", {}), gpu("h", {}, 50)}, share(Share::kWhole)),
              ElementsAre(kMost, kMost, 50U));
  EXPECT_THAT(caps({gpu("g", {}), cpu("c", {})}, share(0)), ElementsAre(0U, 0U));
}

TEST(MemoryCaps, AreWhatTheLedgerGrantsAndChangeWithThePolicy) {
  MemoryLedger ledger;
  const std::vector devices{cpu("a", 100), gpu("g", 1000)};
  set_caps(ledger, devices, share(500'000));
  const auto ask = [&](const char* id, Bytes bytes) {
    const MemoryRequest request{id, MemoryUse::kKv, "m", bytes};
    return ledger.check({&request, 1}).has_value();
  };
  EXPECT_TRUE(ask("a", 50));
  EXPECT_FALSE(ask("a", 51));
  EXPECT_TRUE(ask("g", 500));
  set_caps(ledger, devices, share(510'000));
  EXPECT_TRUE(ask("a", 51));
  EXPECT_FALSE(ask("g", 511));
}

}  // namespace
}  // namespace gogrid

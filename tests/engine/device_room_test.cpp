#include "engine/device_room.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

Device device(const char* id, Bytes free, Bytes total) {
  Device device;
  device.id = id;
  device.kind = DeviceKind::kGpu;
  device.memory_free = free;
  device.memory_total = total;
  return device;
}

TEST(DeviceRoom, IsTheLessOfWhatIsFreeAndWhatTheCapLeaves) {
  MemoryLedger ledger;
  ledger.set_cap("roomy", 1000);
  ledger.set_cap("tight", 100);
  const std::vector<Device> devices{device("roomy", 500, 700), device("tight", 500, 700)};
  const auto rooms = room_of(devices, ledger);
  ASSERT_EQ(rooms.size(), 2U);
  EXPECT_EQ(rooms[0].now, 500U);
  EXPECT_EQ(rooms[0].alone, 700U);
  EXPECT_EQ(rooms[1].device, "tight");
  EXPECT_EQ(rooms[1].now, 100U);
  EXPECT_EQ(rooms[1].alone, 100U);
}

TEST(DeviceRoom, CountsWhatOthersHoldAsThereWereTheyNot) {
  MemoryLedger ledger;
  ledger.set_cap("a", 1000);
  const MemoryRequest request{"a", MemoryUse::kWeights, "other", 300};
  const auto leases = ledger.acquire({&request, 1});
  ASSERT_TRUE(leases);
  const std::vector<Device> devices{device("a", 600, 900)};  // the other's 300 are used already
  EXPECT_EQ(room_of(devices, ledger)[0].now, 600U);
  EXPECT_EQ(room_of(devices, ledger)[0].alone, 900U);
  ledger.set_cap("a", 200);  // below what is held
  EXPECT_EQ(room_of(devices, ledger)[0].now, 0U);
  EXPECT_EQ(room_of(devices, ledger)[0].alone, 200U);
}

TEST(DeviceRoom, IsNoneWithoutAnAccount) {
  const MemoryLedger ledger;
  const std::vector<Device> devices{device("a", 600, 900)};
  EXPECT_EQ(room_of(devices, ledger)[0].now, 0U);
  EXPECT_EQ(room_of(devices, ledger)[0].alone, 0U);
}

}  // namespace
}  // namespace gogrid

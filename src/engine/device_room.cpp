#include "engine/device_room.h"

#include <algorithm>

#include "engine/calibration.h"

namespace gogrid {

std::vector<DeviceRoom> room_of(std::span<const Device> devices, const MemoryLedger& ledger) {
  const std::vector<Bytes> free = plannable_memory(devices);
  const std::vector<Bytes> whole = whole_memory(devices);
  const std::vector<DeviceMemory> accounts = ledger.list();
  std::vector<DeviceRoom> rooms;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    DeviceRoom room{.device = devices[i].id};
    const auto account = std::ranges::find(accounts, room.device, &DeviceMemory::device);
    if (account != accounts.end()) {
      const Bytes cap = account->cap;
      const Bytes held = account->held;
      room.now = std::min(free[i], cap - std::min(cap, held));
      room.alone = std::min(whole[i], cap);
    }
    rooms.push_back(std::move(room));
  }
  return rooms;
}

}  // namespace gogrid

#include "engine/load_retry.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

bool is_hopeless(ErrorCode code) {
  return traits(code).retry == Retry::kNever && code != ErrorCode::kInternal &&
         code != ErrorCode::kIo;
}

// A device that was not there before has grown from nothing.
bool has_grown(const Rooms& before, const Rooms& now) {
  return std::ranges::any_of(now, [&](const auto& room) {
    const auto old = before.find(room.first);
    return room.second > (old != before.end() ? old->second : 0);
  });
}

// `first` doubled `times` times, at most `last`.
Duration doubled(Duration first, int times, Duration last) {
  while (times-- > 0 && first < last) first *= 2;
  return std::min(first, last);
}

}  // namespace

Rooms rooms_of(std::span<const DeviceMemory> ledger) {
  Rooms rooms;
  for (const DeviceMemory& memory : ledger) {
    rooms[memory.device] = memory.cap - std::min(memory.cap, memory.held);
  }
  return rooms;
}

Rooms least_of(const Rooms& a, const Rooms& b) {
  Rooms least;
  for (const auto& [device, room] : a) {
    if (const auto other = b.find(device); other != b.end())
      least[device] = std::min(room, other->second);
  }
  return least;
}

bool LoadRetry::is_due(TimePoint now, const Rooms& rooms) const {
  if (at_ && *at_ <= now) return true;
  return rooms_ && now >= refused_ + kMemoryInterval && has_grown(*rooms_, rooms);
}

void LoadRetry::begin() {
  at_.reset();
  rooms_.reset();
}

void LoadRetry::loaded(TimePoint now) {
  begin();
  ready_since_ = now;
  costly_ = 0;
}

void LoadRetry::failed(ErrorCode code, TimePoint now) {
  begin();
  if (const auto since = std::exchange(ready_since_, std::nullopt);
      since && now - *since >= kHealthyAfter) {
    failures_ = 0;
  }
  if (!is_hopeless(code) && failures_ < kTries) {
    at_ = now + doubled(kFirstBackOff, failures_, kLastBackOff);
  }
  ++failures_;
}

void LoadRetry::refused(ErrorCode code, bool had_begun, Rooms rooms, TimePoint now) {
  rooms_ = std::move(rooms);
  refused_ = now;
  at_.reset();
  if (code == ErrorCode::kDoesNotFit) return;
  at_ = now + (had_begun ? doubled(kAskAgain, costly_++, kAskAgainAtLast) : kAskAgain);
}

void LoadRetry::left(Rooms rooms, TimePoint now) {
  refused(ErrorCode::kExhausted, false, std::move(rooms), now);
}

}  // namespace gogrid

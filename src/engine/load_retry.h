// When a model is loaded again that failed, or for which there was no memory. Pure: the time and
// the ledger come in from outside.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/error_code.h"
#include "base/units.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// What each device could still grant.
using Rooms = std::map<std::string, Bytes>;
Rooms rooms_of(std::span<const DeviceMemory> ledger);
// For each device that is in both, the smaller.
Rooms least_of(const Rooms& a, const Rooms& b);

// One model's. What failed is tried three times more, after 100 ms doubling to 5 s; a model that
// then served for a minute has its tries back.
//
// What was refused memory waits until some device has more room than before the try: what a try
// takes and gives back is none, so two models do not wake each other. And since others than GoGrid
// give memory back as well, it is tried again after a minute; once it was refused only after it had
// begun to load, which costs, after twice as long each time, up to a quarter of an hour. What can
// never fit under the caps waits for room alone.
//
// Not thread-safe.
class LoadRetry {
 public:
  static constexpr int kTries = 3;
  static constexpr Duration kFirstBackOff = std::chrono::milliseconds(100);
  static constexpr Duration kLastBackOff = std::chrono::seconds(5);
  static constexpr Duration kHealthyAfter = std::chrono::minutes(1);
  // After a refusal, whatever grows: what others give back comes in several pieces.
  static constexpr Duration kMemoryInterval = std::chrono::seconds(1);
  static constexpr Duration kAskAgain = std::chrono::minutes(1);
  static constexpr Duration kAskAgainAtLast = std::chrono::minutes(15);

  // Due at once.
  explicit LoadRetry(TimePoint now) : at_(now) {}

  bool is_due(TimePoint now, const Rooms& rooms) const;

  // A try begins: none is due until one of the others is called.
  void begin();
  void loaded(TimePoint now);
  // A try, or an engine that was loaded.
  void failed(ErrorCode code, TimePoint now);
  // For want of memory. `rooms`: the least that there were since the try began, without what it
  // took itself.
  void refused(ErrorCode code, bool had_begun, Rooms rooms, TimePoint now);
  // It gave its memory back, or its try up, for a cap.
  void left(Rooms rooms, TimePoint now);

 private:
  std::optional<TimePoint> at_;
  std::optional<Rooms> rooms_;  // while it waits for memory
  TimePoint refused_;
  std::optional<TimePoint> ready_since_;
  int failures_ = 0;
  int costly_ = 0;  // refusals after it had begun to load
};

}  // namespace gogrid

// Quiet hours: what [[resources.schedule]] says at a given moment, in the machine's local time.
//
//   [[resources.schedule]]
//   days = ["weekdays"]   # mon..sun, "weekdays", "weekend", "daily"; without it: every day
//   from = "22:30"        # 00:00..23:59
//   to = "06:00"          # up to 24:00; not after `from`: on the day after
//   mode = "off"          # or conservative, balanced, aggressive
//
// A window belongs to the day on which it begins. Where windows overlap, the entry that is written
// first wins.
#pragma once

#include <bitset>
#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gogrid {

enum class ScheduledMode : std::uint8_t { kConservative, kBalanced, kAggressive, kOff };
std::string_view name_of(ScheduledMode mode);  // as in the configuration

// As written; a value that is missing is empty.
struct ScheduleEntry {
  std::optional<std::vector<std::string>> days;
  std::string from;
  std::string to;
  std::string mode;
};

// What is wrong with one value.
struct ScheduleFault {
  std::size_t entry = 0;  // counted from 0
  std::string name;       // "from"; empty where the fault is of the entry as a whole
  std::string value;      // on one line, and short whatever was written
  std::string allowed;

  std::string message() const;  // "resources.schedule[0].from: expected HH:MM, …: '25:00'"
};

// What is in force at a moment.
struct ScheduleState {
  std::optional<std::size_t> entry;   // of the entry as written; empty: none
  std::optional<ScheduledMode> mode;  // its mode
  // When the mode in force is another, or none any more; empty: not in the fortnight to come.
  std::optional<std::chrono::sys_seconds> until;

  bool operator==(const ScheduleState&) const = default;
};

// An entry that was checked.
struct QuietWindow {
  std::bitset<7> days;        // of its beginning, by weekday::c_encoding(): 0 is Sunday
  std::chrono::minutes from;  // since midnight
  std::chrono::minutes to;    // since the same midnight: 22:30 to 06:00 ends at 30 h
  ScheduledMode mode = ScheduledMode::kOff;
};

// A value: entries that were checked.
class QuietHours {
 public:
  static constexpr std::size_t kMaxEntries = 64;

  QuietHours() = default;  // no entries: nothing is ever in force
  // All that is wrong with all the entries, or none of it.
  static std::expected<QuietHours, std::vector<ScheduleFault>> of(
      std::span<const ScheduleEntry> entries);

  // Where clocks go forward, a window that begins or ends in the skipped hour does so at the jump,
  // and one that lies in it whole does not come that day. Where they go back, a window begins with
  // the first passing of its `from` and ends with the last of its `to`: it is one stretch always.
  //
  // Walks a fortnight: ask again when `until` has come, and once a minute for a clock or a zone
  // that was set, not at each step of a model.
  ScheduleState at(std::chrono::sys_seconds now, const std::chrono::time_zone& zone) const;

  bool empty() const { return windows_.empty(); }

 private:
  explicit QuietHours(std::vector<QuietWindow> windows) : windows_(std::move(windows)) {}
  std::optional<ScheduledMode> mode_of(std::optional<std::size_t> entry) const;

  std::vector<QuietWindow> windows_;  // in the order written
};

}  // namespace gogrid

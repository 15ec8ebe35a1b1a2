#include "resource/quiet_hours.h"

#include <algorithm>
#include <array>

namespace gogrid {
namespace {

using std::chrono::days;
using std::chrono::local_days;
using std::chrono::local_seconds;
using std::chrono::minutes;
using std::chrono::sys_seconds;

constexpr std::array<std::string_view, 4> kModes{"conservative", "balanced", "aggressive", "off"};
constexpr std::string_view kAllowedDays =
    "days of mon, tue, wed, thu, fri, sat, sun, weekdays, weekend, daily";

struct DayName {
  std::string_view name;
  unsigned long long days;  // as QuietWindow's
};
constexpr std::array<DayName, 10> kDayNames{{{"mon", 1U << 1},
                                             {"tue", 1U << 2},
                                             {"wed", 1U << 3},
                                             {"thu", 1U << 4},
                                             {"fri", 1U << 5},
                                             {"sat", 1U << 6},
                                             {"sun", 1U << 0},
                                             {"weekdays", 0b0111110},
                                             {"weekend", 0b1000001},
                                             {"daily", 0b1111111}}};

std::string shown(std::string_view written) {
  constexpr std::size_t kMaxShown = 40;
  std::string text(written.substr(0, kMaxShown));
  std::ranges::replace_if(text, [](char c) { return c >= 0 && c < ' '; }, ' ');
  return written.size() <= kMaxShown ? text : text + "...";
}

// "HH:MM" up to 24:00; empty for all else.
std::optional<minutes> parse_time(std::string_view text) {
  const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4))
    return std::nullopt;
  const auto pair = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  const minutes time(pair(0) * 60 + pair(3));
  if (pair(3) >= 60 || time > days(1)) return std::nullopt;
  return time;
}

// Collects what is wrong with one entry.
class EntryReader {
 public:
  EntryReader(std::size_t index, std::vector<ScheduleFault>& faults)
      : index_(index), faults_(faults) {}

  QuietWindow read(const ScheduleEntry& entry) {
    QuietWindow window;
    window.days = days_of(entry.days);
    window.from = time_of("from", entry.from, minutes(days(1)) - minutes(1), "00:00 to 23:59");
    window.to = time_of("to", entry.to, days(1), "00:00 to 24:00");
    window.mode = mode_of(entry.mode);
    if (well_ && window.from == window.to)
      fault("to", entry.to, "another time than from (a whole day is 00:00 to 24:00)");
    if (window.to <= window.from) window.to += days(1);
    return window;
  }

 private:
  void fault(std::string_view name, std::string_view value, std::string_view allowed) {
    faults_.push_back({index_, std::string(name), shown(value), std::string(allowed)});
    well_ = false;
  }

  std::bitset<7> days_of(const std::optional<std::vector<std::string>>& names) {
    if (!names) return std::bitset<7>().set();
    if (names->empty()) fault("days", "[]", kAllowedDays);
    std::bitset<7> result;
    for (const std::string& name : *names) {
      const auto* known = std::ranges::find(kDayNames, name, &DayName::name);
      if (known == kDayNames.end())
        fault("days", name, kAllowedDays);
      else
        result |= known->days;
    }
    return result;
  }

  minutes time_of(std::string_view name, std::string_view text, minutes most,
                  std::string_view range) {
    const auto time = parse_time(text);
    if (time && *time <= most) return *time;
    fault(name, text, "HH:MM, " + std::string(range));
    return {};
  }

  ScheduledMode mode_of(std::string_view text) {
    const auto* known = std::ranges::find(kModes, text);
    if (known != kModes.end()) return static_cast<ScheduledMode>(known - kModes.begin());
    fault("mode", text, "conservative, balanced, aggressive or off");
    return ScheduledMode::kOff;
  }

  const std::size_t index_;
  std::vector<ScheduleFault>& faults_;
  bool well_ = true;
};

// A window on one day, as instants; `to` is not in it any more.
struct Stretch {
  sys_seconds from;
  sys_seconds to;
  std::size_t entry;

  bool holds(sys_seconds moment) const { return from <= moment && moment < to; }
};

// Every stretch that may hold a moment of `today` or begin within the fortnight after. A window
// ends on the day after its own at the latest, and a zone that crosses the date line drops a day
// between.
std::vector<Stretch> stretches_around(std::span<const QuietWindow> windows, local_days today,
                                      const std::chrono::time_zone& zone) {
  std::vector<Stretch> result;
  for (std::size_t entry = 0; entry < windows.size(); ++entry) {
    const QuietWindow& window = windows[entry];
    for (local_days day = today - days(3); day <= today + days(15); day += days(1)) {
      if (!window.days[std::chrono::weekday(day).c_encoding()]) continue;
      // A time that is skipped is the moment of the jump to both.
      const Stretch stretch{
          zone.to_sys(local_seconds(day + window.from), std::chrono::choose::earliest),
          zone.to_sys(local_seconds(day + window.to), std::chrono::choose::latest), entry};
      if (stretch.from < stretch.to) result.push_back(stretch);
    }
  }
  return result;
}

std::optional<std::size_t> entry_at(std::span<const Stretch> stretches, sys_seconds moment) {
  // They lie in the order of their entries: the first match wins.
  const auto found =
      std::ranges::find_if(stretches, [&](const Stretch& s) { return s.holds(moment); });
  if (found == stretches.end()) return std::nullopt;
  return found->entry;
}

// The beginnings and ends after `now`, in order.
std::vector<sys_seconds> edges_after(std::span<const Stretch> stretches, sys_seconds now) {
  std::vector<sys_seconds> edges;
  for (const Stretch& stretch : stretches) {
    if (stretch.from > now) edges.push_back(stretch.from);
    if (stretch.to > now) edges.push_back(stretch.to);
  }
  std::ranges::sort(edges);
  const auto same = std::ranges::unique(edges);
  edges.erase(same.begin(), same.end());
  return edges;
}

}  // namespace

std::string_view name_of(ScheduledMode mode) { return kModes.at(static_cast<std::size_t>(mode)); }

std::string ScheduleFault::message() const {
  const std::string where = "resources.schedule[" + std::to_string(entry) + "]";
  return (name.empty() ? where : where + "." + name) + ": expected " + allowed + ": '" + value +
         "'";
}

std::expected<QuietHours, std::vector<ScheduleFault>> QuietHours::of(
    std::span<const ScheduleEntry> entries) {
  std::vector<ScheduleFault> faults;
  if (entries.size() > kMaxEntries) {
    faults.push_back({kMaxEntries, "", std::to_string(entries.size()) + " entries",
                      "at most " + std::to_string(kMaxEntries) + " entries"});
    return std::unexpected(std::move(faults));
  }
  std::vector<QuietWindow> windows;
  for (std::size_t i = 0; i < entries.size(); ++i)
    windows.push_back(EntryReader(i, faults).read(entries[i]));
  if (!faults.empty()) return std::unexpected(std::move(faults));
  return QuietHours(std::move(windows));
}

std::optional<ScheduledMode> QuietHours::mode_of(std::optional<std::size_t> entry) const {
  return entry.transform([this](std::size_t index) { return windows_[index].mode; });
}

ScheduleState QuietHours::at(sys_seconds now, const std::chrono::time_zone& zone) const {
  const auto today = std::chrono::floor<days>(zone.to_local(now));
  const std::vector<Stretch> stretches = stretches_around(windows_, today, zone);
  ScheduleState state;
  state.entry = entry_at(stretches, now);
  state.mode = mode_of(state.entry);
  // The last edges are those of the walk's end, not of the schedule.
  const sys_seconds horizon = now + days(14);
  for (const sys_seconds edge : edges_after(stretches, now)) {
    if (edge > horizon) break;
    if (mode_of(entry_at(stretches, edge)) == state.mode) continue;
    state.until = edge;
    break;
  }
  return state;
}

}  // namespace gogrid

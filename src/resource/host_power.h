// What the machine runs on, and how hot it is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/share.h"
#include "resource/host_text.h"

namespace gogrid {

// One folder of /sys/class/power_supply, as it says itself.
struct PowerSupply {
  std::string type;    // "Mains", "USB", "Battery", "UPS", "Wireless"
  std::string scope;   // "Device": of a mouse or a headset, not of this machine
  std::string status;  // of a battery: "Discharging", "Charging", "Full", "Not charging", "Unknown"
  std::optional<bool> online;            // of a line
  std::optional<std::uint64_t> percent;  // of a battery, 0..100
};

struct Power {
  bool on_battery = false;
  std::optional<Share> charge;  // the mean of the machine's batteries; empty: has none, or not told
  bool operator==(const Power&) const = default;
};

// A machine without batteries of its own is on mains. With one it is on battery when no line is
// online and a battery is discharging, or says nothing of itself and its line is off. Unknown when
// there is a battery and nothing tells.
Reading<Power> judge_power(std::span<const PowerSupply> supplies);
Reading<Power> read_power(const std::filesystem::path& root);

// In thousandths of a degree Celsius, as the kernel has them.
using Millidegrees = std::int64_t;

struct TripPoint {
  std::string type;  // "active" (a fan), "passive" (slows down), "hot", "critical" (switches off)
  Millidegrees at = 0;
};

// One folder of /sys/class/thermal.
struct ThermalZone {
  std::string name;  // its type: "x86_pkg_temp", "acpitz"
  Millidegrees now = 0;
  std::vector<TripPoint> trips;
};

struct Heat {
  std::string zone;  // the one with the least distance to its limit
  Millidegrees now = 0;
  Millidegrees limit = 0;
  bool throttled = false;  // at the limit or above: the kernel slows the machine down
  bool operator==(const Heat&) const = default;
};

// A zone's limit is the lowest of its passive and hot trip points, else its critical one: a fan
// that starts is no limit. Trip points at or below zero are not set; temperatures outside -50..250
// degrees are a sensor that is off. Unknown without a zone that has both.
Reading<Heat> judge_heat(std::span<const ThermalZone> zones);
Reading<Heat> read_heat(const std::filesystem::path& root);

}  // namespace gogrid

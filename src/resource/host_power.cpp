#include "resource/host_power.h"

#include <algorithm>
#include <system_error>

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAttributeBytes = 256;
constexpr std::size_t kMostEntries = 256;
constexpr int kMostTrips = 16;
constexpr std::uint32_t kMillionthsPerPercent = Share::kWhole / 100;
constexpr Millidegrees kColdest = -50'000;
constexpr Millidegrees kHottest = 250'000;

// Empty: absent, or not readable just now (a sensor that sleeps answers with an error).
std::string attribute(const fs::path& folder, std::string_view name) {
  const auto text = read_text(folder / name, kAttributeBytes);
  return text ? std::string(trimmed(*text)) : std::string();
}

// The folders in `folder` whose name begins so, in order of name. Unknown when it cannot be listed.
Reading<std::vector<fs::path>> entries(const fs::path& folder, std::string_view prefix) {
  std::error_code error;
  std::vector<fs::path> found;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (found.size() == kMostEntries) break;
    if (entry->path().filename().native().starts_with(prefix)) found.push_back(entry->path());
  }
  if (error) return std::unexpected("cannot list " + folder.string() + ": " + error.message());
  std::ranges::sort(found);
  return found;
}

bool is_battery(const PowerSupply& supply) {
  return (supply.type == "Battery" || supply.type == "UPS") && supply.scope != "Device";
}

std::optional<Share> mean_charge(std::span<const PowerSupply> supplies) {
  std::uint64_t sum = 0;
  std::uint64_t count = 0;
  for (const PowerSupply& supply : supplies) {
    if (!is_battery(supply) || !supply.percent || *supply.percent > 100) continue;
    sum += *supply.percent;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return Share::of_millionths(sum * kMillionthsPerPercent / count);
}

std::optional<bool> discharging(std::span<const PowerSupply> supplies) {
  bool told = false;
  for (const PowerSupply& supply : supplies) {
    if (!is_battery(supply)) continue;
    if (supply.status == "Discharging") return true;
    told = told || supply.status == "Charging" || supply.status == "Full" ||
           supply.status == "Not charging";
  }
  return told ? std::optional(false) : std::nullopt;
}

PowerSupply read_supply(const fs::path& folder) {
  const std::string online = attribute(folder, "online");
  PowerSupply supply{.type = attribute(folder, "type"),
                     .scope = attribute(folder, "scope"),
                     .status = attribute(folder, "status"),
                     .online = std::nullopt,
                     .percent = parse_number(attribute(folder, "capacity"))};
  // A USB supply says 2 where it may be told to give more.
  if (const auto state = parse_number(online)) supply.online = *state != 0;
  return supply;
}

ThermalZone read_zone(const fs::path& folder, Millidegrees now) {
  ThermalZone zone{.name = attribute(folder, "type"), .now = now, .trips = {}};
  for (int i = 0; i < kMostTrips; ++i) {
    const std::string stem = "trip_point_" + std::to_string(i);
    std::string type = attribute(folder, stem + "_type");
    if (type.empty()) break;
    if (const auto at = parse_signed(attribute(folder, stem + "_temp"))) {
      zone.trips.push_back({std::move(type), *at});
    }
  }
  return zone;
}

std::optional<Millidegrees> lowest(const ThermalZone& zone, std::string_view type) {
  std::optional<Millidegrees> at;
  for (const TripPoint& trip : zone.trips) {
    if (trip.type != type || trip.at <= 0 || trip.at > kHottest) continue;
    at = std::min(at.value_or(trip.at), trip.at);
  }
  return at;
}

std::optional<Millidegrees> limit_of(const ThermalZone& zone) {
  const auto passive = lowest(zone, "passive");
  const auto hot = lowest(zone, "hot");
  if (passive && hot) return std::min(*passive, *hot);
  if (passive || hot) return passive ? passive : hot;
  return lowest(zone, "critical");
}

}  // namespace

Reading<Power> judge_power(std::span<const PowerSupply> supplies) {
  if (std::ranges::none_of(supplies, is_battery)) return Power{};
  Power power{.on_battery = false, .charge = mean_charge(supplies)};
  bool line_off = false;
  for (const PowerSupply& supply : supplies) {
    if (is_battery(supply) || supply.scope == "Device" || !supply.online) continue;
    if (*supply.online) return power;
    line_off = true;
  }
  const auto draining = discharging(supplies);
  if (!draining && !line_off) {
    return not_known("power", "expected a line or a battery that tells its state: none does");
  }
  power.on_battery = draining.value_or(line_off);
  return power;
}

Reading<Power> read_power(const fs::path& root) {
  const auto folders = entries(root / "sys/class/power_supply", "");
  if (!folders) return not_known("power", folders.error());
  std::vector<PowerSupply> supplies;
  for (const fs::path& folder : *folders) supplies.push_back(read_supply(folder));
  return judge_power(supplies);
}

Reading<Heat> judge_heat(std::span<const ThermalZone> zones) {
  std::optional<Heat> hottest;
  for (const ThermalZone& zone : zones) {
    const auto limit = limit_of(zone);
    if (!limit || zone.now < kColdest || zone.now > kHottest) continue;
    if (hottest && hottest->limit - hottest->now <= *limit - zone.now) continue;
    hottest = Heat{zone.name, zone.now, *limit, zone.now >= *limit};
  }
  if (!hottest) return not_known("heat", "no thermal zone tells both a temperature and a limit");
  return *hottest;
}

Reading<Heat> read_heat(const fs::path& root) {
  const auto folders = entries(root / "sys/class/thermal", "thermal_zone");
  if (!folders) return not_known("heat", folders.error());
  std::vector<ThermalZone> zones;
  for (const fs::path& folder : *folders) {
    const auto now = parse_signed(attribute(folder, "temp"));
    if (now) zones.push_back(read_zone(folder, *now));
  }
  return judge_heat(zones);
}

}  // namespace gogrid

// How much of a machine GoGrid may use: the three modes, and every value by name (specification,
// section 1).
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/share.h"

namespace gogrid {

enum class ResourceMode : std::uint8_t {
  kConservative,  // a desktop that somebody works at
  kBalanced,
  kAggressive,  // a server
};
std::string_view name_of(ResourceMode mode);  // "conservative", …
std::optional<ResourceMode> find_resource_mode(std::string_view name);

// When to stop for the load of others.
struct PausePolicy {
  bool enabled = true;
  Share cpu;  // pauses above these
  Share gpu;
  Share memory;
  std::chrono::seconds check{5};   // looks this often
  std::chrono::seconds pause{30};  // and stops for this long at least
  bool operator==(const PausePolicy&) const = default;
};

// What one device has instead of the values for all.
struct DevicePolicy {
  std::optional<Share> max_device_memory;
  std::optional<Share> max_compute;
  bool operator==(const DevicePolicy&) const = default;
};

// A value: whoever is shown one sees all of it or nothing.
struct ResourcePolicy {
  static ResourcePolicy of(ResourceMode mode);

  ResourceMode mode = ResourceMode::kBalanced;
  Share max_device_memory;  // enforced by the ledger
  Share max_compute;        // of a device's time, enforced between steps
  std::int32_t nice = 10;
  std::int32_t io_class = 3;  // 0 none, 1 real time, 2 best effort, 3 idle (ioprio_set(2))
  std::int32_t io_level = 7;
  std::chrono::milliseconds min_request_interval{50};  // 0: none
  std::uint32_t max_batch = 4;                         // sequences in a step
  PausePolicy pause;
  std::map<std::string, DevicePolicy, std::less<>> devices;

  Share memory_of(std::string_view device) const;
  Share compute_of(std::string_view device) const;
  bool operator==(const ResourcePolicy&) const = default;
};

// max_compute is 0 for all devices: that is a pause, not a rest without end.
bool wants_no_work(const ResourcePolicy& policy);

// Of each value the one that takes less of the machine, and yields sooner and for longer; mode and
// devices' own values are `policy`'s.
ResourcePolicy stricter(ResourcePolicy policy, const ResourcePolicy& than);

// Null takes a device's own value back.
using PolicyValue = std::variant<std::monostate, bool, std::int64_t, double, std::string>;

// "max_compute", "pause.cpu", "devices.vulkan0.max_compute".
struct PolicySetting {
  std::string name;
  PolicyValue value;
  bool operator==(const PolicySetting&) const = default;
};

// What is wrong with one setting: "max_compute: expected a number 0..1, got 70".
struct PolicyFault {
  std::string name;
  std::string message;
};

// `policy` with all the settings, or all that is wrong with them, and then none is made. "mode"
// comes first wherever it stands: it sets every value but the devices' own.
std::expected<ResourcePolicy, std::vector<PolicyFault>> with_settings(
    ResourcePolicy policy, std::span<const PolicySetting> settings);

// Every value of `policy` by its name, in the specification's order; with_settings() of them gives
// it back.
std::vector<PolicySetting> settings_of(const ResourcePolicy& policy);

}  // namespace gogrid

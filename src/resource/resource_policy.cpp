#include "resource/resource_policy.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/nearest.h"

namespace gogrid {
namespace {

constexpr std::array<std::string_view, 3> kModeNames = {"conservative", "balanced", "aggressive"};
constexpr std::string_view kDevices = "devices.";
constexpr std::string_view kModes = "\"conservative\", \"balanced\" or \"aggressive\"";
constexpr std::string_view kShareRange = "a number 0..1";

// What a setting expects, or nothing when `value` was taken.
using Expected = std::optional<std::string>;

Expected take_share(const PolicyValue& value, Share& target) {
  std::optional<Share> share;
  if (const auto* number = std::get_if<double>(&value)) share = Share::of(*number);
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    share = Share::of(static_cast<double>(*number));
  }
  if (!share) return std::string(kShareRange);
  target = *share;
  return {};
}

Expected take_flag(const PolicyValue& value, bool& target) {
  const auto* flag = std::get_if<bool>(&value);
  if (flag == nullptr) return "true or false";
  target = *flag;
  return {};
}

// JSON knows no whole numbers: 4.0 is one.
std::optional<std::int64_t> whole(const PolicyValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return *number;
  const auto* number = std::get_if<double>(&value);
  constexpr double kExact = 9007199254740992.0;
  if (number == nullptr || !(std::abs(*number) < kExact) || std::trunc(*number) != *number) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*number);
}

template <class T>
Expected take_whole(const PolicyValue& value, std::int64_t least, std::int64_t most, T& target) {
  const auto number = whole(value);
  if (!number || *number < least || *number > most) {
    return "a whole number " + std::to_string(least) + ".." + std::to_string(most);
  }
  target = T(static_cast<std::int32_t>(*number));
  return {};
}

struct Field {
  std::string_view name;
  Expected (*take)(const PolicyValue& value, ResourcePolicy& policy);
  PolicyValue (*show)(const ResourcePolicy& policy);
};

constexpr std::int64_t kMaxIntervalMs = 3'600'000;
constexpr std::int64_t kMaxBatch = 1024;
constexpr std::int64_t kMaxCheckS = 3600;
constexpr std::int64_t kMaxPauseS = 86'400;

using P = ResourcePolicy;
using V = PolicyValue;

// In the specification's order.
constexpr std::array kFields = {
    Field{"max_device_memory", [](const V& v, P& p) { return take_share(v, p.max_device_memory); },
          [](const P& p) { return V(p.max_device_memory.number()); }},
    Field{"max_compute", [](const V& v, P& p) { return take_share(v, p.max_compute); },
          [](const P& p) { return V(p.max_compute.number()); }},
    Field{"nice", [](const V& v, P& p) { return take_whole(v, -20, 19, p.nice); },
          [](const P& p) { return V(std::int64_t{p.nice}); }},
    Field{"io_class", [](const V& v, P& p) { return take_whole(v, 0, 3, p.io_class); },
          [](const P& p) { return V(std::int64_t{p.io_class}); }},
    Field{"io_level", [](const V& v, P& p) { return take_whole(v, 0, 7, p.io_level); },
          [](const P& p) { return V(std::int64_t{p.io_level}); }},
    Field{"min_request_interval_ms",
          [](const V& v, P& p) { return take_whole(v, 0, kMaxIntervalMs, p.min_request_interval); },
          [](const P& p) { return V(std::int64_t{p.min_request_interval.count()}); }},
    Field{"max_batch", [](const V& v, P& p) { return take_whole(v, 1, kMaxBatch, p.max_batch); },
          [](const P& p) { return V(std::int64_t{p.max_batch}); }},
    Field{"pause.enabled", [](const V& v, P& p) { return take_flag(v, p.pause.enabled); },
          [](const P& p) { return V(p.pause.enabled); }},
    Field{"pause.cpu", [](const V& v, P& p) { return take_share(v, p.pause.cpu); },
          [](const P& p) { return V(p.pause.cpu.number()); }},
    Field{"pause.gpu", [](const V& v, P& p) { return take_share(v, p.pause.gpu); },
          [](const P& p) { return V(p.pause.gpu.number()); }},
    Field{"pause.memory", [](const V& v, P& p) { return take_share(v, p.pause.memory); },
          [](const P& p) { return V(p.pause.memory.number()); }},
    Field{"pause.check_s",
          [](const V& v, P& p) { return take_whole(v, 1, kMaxCheckS, p.pause.check); },
          [](const P& p) { return V(std::int64_t{p.pause.check.count()}); }},
    Field{"pause.pause_s",
          [](const V& v, P& p) { return take_whole(v, 1, kMaxPauseS, p.pause.pause); },
          [](const P& p) { return V(std::int64_t{p.pause.pause.count()}); }},
};

struct DeviceField {
  std::string_view name;
  std::optional<Share> DevicePolicy::* value;
};
constexpr std::array kDeviceFields = {
    DeviceField{"max_device_memory", &DevicePolicy::max_device_memory},
    DeviceField{"max_compute", &DevicePolicy::max_compute},
};

std::string text_of(const PolicyValue& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const { return std::to_string(number); }
    std::string operator()(const std::string& text) const { return '"' + text.substr(0, 40) + '"'; }
  };
  return std::visit(Visitor{}, value);
}

PolicyFault expected_other(const PolicySetting& setting, const std::string& expected) {
  const std::string shown = setting.name.substr(0, 80);
  return {shown, shown + ": expected " + expected + ", got " + text_of(setting.value)};
}

// Finding the nearest name is the dear part, and nobody reads a hundred of them.
constexpr std::size_t kMostSuggestions = 32;

PolicyFault unknown(const std::string& name, std::size_t faults_before) {
  const std::string shown = name.substr(0, 80);
  if (faults_before >= kMostSuggestions) return {shown, shown + ": no such setting"};
  std::vector<std::string> known{"mode"};
  for (const Field& field : kFields) known.emplace_back(field.name);
  for (const DeviceField& field : kDeviceFields) {
    known.push_back(std::string(kDevices) + "ID." + std::string(field.name));
  }
  return {shown, shown + ": no such setting" + suggestion(shown, known)};
}

Expected take_mode(const PolicyValue& value, ResourcePolicy& policy) {
  const auto* name = std::get_if<std::string>(&value);
  const auto mode = name != nullptr ? find_resource_mode(*name) : std::nullopt;
  if (!mode) return std::string(kModes);
  auto devices = std::move(policy.devices);
  policy = ResourcePolicy::of(*mode);
  policy.devices = std::move(devices);
  return {};
}

Expected take_device_share(const PolicyValue& value, std::optional<Share>& target) {
  if (std::holds_alternative<std::monostate>(value)) {
    target.reset();
    return {};
  }
  Share share;
  if (take_share(value, share)) return std::string(kShareRange) + ", or null for the value of all";
  target = share;
  return {};
}

// What is written into a file and read again must come back the same.
bool is_id(std::string_view id) {
  constexpr std::size_t kMaxId = 128;
  return !id.empty() && id.size() <= kMaxId &&
         std::ranges::all_of(id, [](char c) { return c > ' ' && c <= '~'; });
}

// "ID.max_compute"; an id may have dots of its own.
std::optional<PolicyFault> take_device(const PolicySetting& setting, std::size_t faults_before,
                                       ResourcePolicy& policy) {
  const std::string_view rest = std::string_view(setting.name).substr(kDevices.size());
  const std::size_t dot = rest.rfind('.');
  if (dot == 0 || dot == std::string_view::npos) return unknown(setting.name, faults_before);
  const std::string id(rest.substr(0, dot));
  if (!is_id(id)) {
    return PolicyFault{"devices",
                       "devices: expected ids of 1..128 printable characters, got one of " +
                           std::to_string(id.size()) + " bytes"};
  }
  for (const DeviceField& field : kDeviceFields) {
    if (field.name != rest.substr(dot + 1)) continue;
    DevicePolicy& device = policy.devices[id];
    if (const auto expected = take_device_share(setting.value, device.*field.value)) {
      return expected_other(setting, *expected);
    }
    if (device == DevicePolicy{}) policy.devices.erase(id);
    return std::nullopt;
  }
  return unknown(setting.name, faults_before);
}

std::optional<PolicyFault> take(const PolicySetting& setting, std::size_t faults_before,
                                ResourcePolicy& policy) {
  if (setting.name.starts_with(kDevices)) return take_device(setting, faults_before, policy);
  const auto* field = std::ranges::find(kFields, setting.name, &Field::name);
  if (field == kFields.end()) return unknown(setting.name, faults_before);
  const auto expected = field->take(setting.value, policy);
  if (!expected) return std::nullopt;
  return expected_other(setting, *expected);
}

}  // namespace

std::string_view name_of(ResourceMode mode) { return kModeNames[static_cast<std::size_t>(mode)]; }

std::optional<ResourceMode> find_resource_mode(std::string_view name) {
  const auto* found = std::ranges::find(kModeNames, name);
  if (found == kModeNames.end()) return std::nullopt;
  return static_cast<ResourceMode>(found - kModeNames.begin());
}

ResourcePolicy ResourcePolicy::of(ResourceMode mode) {
  ResourcePolicy policy;
  policy.mode = mode;
  switch (mode) {
    case ResourceMode::kConservative:
      policy.max_device_memory = Share::percent(50);
      policy.max_compute = Share::percent(60);
      policy.nice = 15;
      policy.min_request_interval = std::chrono::milliseconds(100);
      policy.max_batch = 2;
      policy.pause = {true,
                      Share::percent(50),
                      Share::percent(60),
                      Share::percent(80),
                      std::chrono::seconds(3),
                      std::chrono::seconds(60)};
      break;
    case ResourceMode::kBalanced:
      policy.max_device_memory = Share::percent(70);
      policy.max_compute = Share::percent(80);
      policy.pause = {true,
                      Share::percent(70),
                      Share::percent(80),
                      Share::percent(90),
                      std::chrono::seconds(5),
                      std::chrono::seconds(30)};
      break;
    case ResourceMode::kAggressive:
      policy.max_device_memory = Share::percent(95);
      policy.max_compute = Share::percent(95);
      policy.nice = 0;
      policy.io_class = 2;
      policy.io_level = 4;
      policy.min_request_interval = std::chrono::milliseconds(0);
      policy.max_batch = 16;
      policy.pause = {false,
                      Share::percent(90),
                      Share::percent(95),
                      Share::percent(95),
                      std::chrono::seconds(10),
                      std::chrono::seconds(15)};
      break;
  }
  return policy;
}

Share ResourcePolicy::memory_of(std::string_view device) const {
  const auto found = devices.find(device);
  if (found == devices.end()) return max_device_memory;
  return found->second.max_device_memory.value_or(max_device_memory);
}

Share ResourcePolicy::compute_of(std::string_view device) const {
  const auto found = devices.find(device);
  if (found == devices.end()) return max_compute;
  return found->second.max_compute.value_or(max_compute);
}

bool wants_no_work(const ResourcePolicy& policy) {
  const auto computes = [](const auto& device) {
    return device.second.max_compute.value_or(Share()) > Share();
  };
  return policy.max_compute == Share() && std::ranges::none_of(policy.devices, computes);
}

ResourcePolicy stricter(ResourcePolicy policy, const ResourcePolicy& than) {
  const auto least = [](auto& value, const auto& other) { value = std::min(value, other); };
  const auto most = [](auto& value, const auto& other) { value = std::max(value, other); };
  least(policy.max_device_memory, than.max_device_memory);
  least(policy.max_compute, than.max_compute);
  most(policy.nice, than.nice);
  if (than.io_class > policy.io_class) {
    policy.io_class = than.io_class;
    policy.io_level = than.io_level;
  } else if (than.io_class == policy.io_class) {
    most(policy.io_level, than.io_level);
  }
  most(policy.min_request_interval, than.min_request_interval);
  least(policy.max_batch, than.max_batch);
  policy.pause.enabled = policy.pause.enabled || than.pause.enabled;
  least(policy.pause.cpu, than.pause.cpu);
  least(policy.pause.gpu, than.pause.gpu);
  least(policy.pause.memory, than.pause.memory);
  least(policy.pause.check, than.pause.check);
  most(policy.pause.pause, than.pause.pause);
  return policy;
}

std::expected<ResourcePolicy, std::vector<PolicyFault>> with_settings(
    ResourcePolicy policy, std::span<const PolicySetting> settings) {
  std::vector<PolicyFault> faults;
  for (const PolicySetting& setting : settings) {
    if (setting.name != "mode") continue;
    if (const auto expected = take_mode(setting.value, policy)) {
      faults.push_back({"mode", "mode: expected " + *expected + ", got " + text_of(setting.value)});
    }
  }
  for (const PolicySetting& setting : settings) {
    if (setting.name == "mode") continue;
    if (auto fault = take(setting, faults.size(), policy)) faults.push_back(*std::move(fault));
  }
  if (!faults.empty()) return std::unexpected(std::move(faults));
  return policy;
}

std::vector<PolicySetting> settings_of(const ResourcePolicy& policy) {
  std::vector<PolicySetting> settings{{"mode", std::string(name_of(policy.mode))}};
  for (const Field& field : kFields) {
    settings.push_back({std::string(field.name), field.show(policy)});
  }
  for (const auto& [id, device] : policy.devices) {
    for (const DeviceField& field : kDeviceFields) {
      if (const auto& value = device.*field.value) {
        settings.push_back({std::string(kDevices) + id + '.' + std::string(field.name),
                            PolicyValue(value->number())});
      }
    }
  }
  return settings;
}

}  // namespace gogrid

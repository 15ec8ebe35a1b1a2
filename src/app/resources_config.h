// [resources] of the configuration file. For .cpp files of app/ only.
#pragma once

#include <string_view>
#include <toml++/toml.hpp>
#include <vector>

#include "base/result.h"
#include "resource/quiet_hours.h"
#include "resource/resource_policy.h"

namespace gogrid {

struct ResourcesConfig {
  std::vector<PolicySetting> settings;  // by the policy's names; allowed over any mode
  QuietHours quiet_hours;               // [[resources.schedule]]
};

// kInvalidArgument with all that is wrong in it, each as "FILE:LINE: resources.NAME: expected ...".
Result<ResourcesConfig> read_resources(const toml::node& resources, std::string_view file);

}  // namespace gogrid

// Settings as JSON: {"max_compute": 0.5, "pause": {"cpu": 0.6}, "devices": {"vulkan0":
// {"max_compute": 0.4}}}. The body of PATCH /admin/v1/policy, what GET shows, and the file in which
// changes are kept.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "resource/resource_policy.h"

namespace gogrid {

inline constexpr std::size_t kMaxPolicyText = 64 * 1024;

// In the order of the text. kTooLarge above kMaxPolicyText; kInvalidArgument for what is no object
// of such objects and values. Names and ranges are not looked at: with_settings() does.
Result<std::vector<PolicySetting>> parse_policy_json(std::string_view text);

std::string policy_json(std::span<const PolicySetting> settings);

}  // namespace gogrid

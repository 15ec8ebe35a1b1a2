// The TOML file of `gogrid serve --config`. A flag wins over the file, the file over the default.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/listen_address.h"
#include "base/result.h"
#include "cli/options.h"
#include "device/device.h"
#include "placement/stage_quantization.h"
#include "resource/quiet_hours.h"
#include "resource/resource_policy.h"

namespace gogrid {

struct Config {
  std::optional<ListenAddress> listen;    // [server] listen = "127.0.0.1:8080"
  std::vector<std::string> models;        // [server] models = ["a", "b"]
  std::optional<std::uint32_t> context;   // [server] context
  std::optional<std::uint32_t> parallel;  // [server] parallel
  // [server] pinned, on_demand, library, keep_alive, load_wait; [aliases] NAME = "MODEL"
  KeepingOptions keeping;
  StageQuantization quantize;         // [server] quantize_stages = "allow"
  std::vector<DeviceSpec> devices;    // [[device]] id, cores, memory
  std::vector<PolicySetting> limits;  // [resources] by the policy's names, checked
  QuietHours quiet_hours;             // [[resources.schedule]]
};

// kInvalidArgument "FILE:LINE: what was expected: what came". Unknown keys are errors that suggest
// the nearest.
Result<Config> read_config(const std::filesystem::path& file);
// `name` stands for the file in errors.
Result<Config> parse_config(std::string_view text, std::string_view name);

// "max_batch=8", "pause.enabled=false", "mode=balanced", as --limit has it. kInvalidArgument
// without a name or a value; names and ranges are with_settings()' matter.
Result<PolicySetting> parse_limit(std::string_view text);

}  // namespace gogrid

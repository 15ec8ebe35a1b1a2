#include "app/policies.h"

namespace gogrid {

Result<Config> config_of(const PolicyOptions& options) {
  Config config;
  if (!options.config.empty()) {
    GOGRID_ASSIGN_OR_RETURN(config, read_config(options.config));
  }
  if (options.mode) config.limits.push_back({"mode", *options.mode});
  for (const std::string& limit : options.limits) {
    auto setting = parse_limit(limit);
    if (!setting)
      return fail(ErrorCode::kInvalidArgument, "--limit: " + setting.error().message, "limit");
    config.limits.push_back(*std::move(setting));
  }
  return config;
}

Result<std::unique_ptr<PolicyStore>> open_policies(const Config& config,
                                                   const Workspace& workspace) {
  auto configured = with_settings(ResourcePolicy::of(ResourceMode::kBalanced), config.limits);
  if (!configured) {
    const Error fault = error_of(configured.error());
    return fail(ErrorCode::kInvalidArgument, "--limit: " + fault.message, fault.param);
  }
  return PolicyStore::open(*std::move(configured), workspace.policy_file());
}

}  // namespace gogrid

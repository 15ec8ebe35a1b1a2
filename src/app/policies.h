// From the options of the command line to the policy that is in force.
#pragma once

#include <memory>

#include "app/config.h"
#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "resource/policy_store.h"

namespace gogrid {

// The file of --config, if any, and over it --mode and --limit. kInvalidArgument names the option
// or FILE:LINE.
Result<Config> config_of(const PolicyOptions& options);

// What is configured, over the balanced mode, and the changes that people made in earlier runs over
// it.
Result<std::unique_ptr<PolicyStore>> open_policies(const Config& config,
                                                   const Workspace& workspace);

}  // namespace gogrid

// `gogrid models check`.
#pragma once

#include <vector>

#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "device/device_registry.h"

namespace gogrid {

// kDoesNotFit or kUnsupported, after the report, where the model can never run here.
Status check_model(const Workspace& workspace, const ModelsCommand& command, bool json);

}  // namespace gogrid

// `gogrid models show`, and a model as the commands print it in JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "model/model_library.h"

namespace gogrid {

nlohmann::ordered_json json_of(const ModelEntry& entry);

Status show_model(const Workspace& workspace, const ModelsCommand& command, bool json);

}  // namespace gogrid

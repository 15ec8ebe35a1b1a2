// `gogrid models show`, and a model as the commands print it in JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "model/model_library.h"

namespace gogrid {

// `workspace`: for what its stages lost where they were made smaller (--quantize-stages).
nlohmann::ordered_json json_of(const ModelEntry& entry, const Workspace& workspace);
// "layers 18-30 as q4_K against base: KL ...", one for each way that was measured; the last first.
std::vector<std::string> stage_losses_text(const Workspace& workspace, std::string_view digest);

Status show_model(const Workspace& workspace, const ModelsCommand& command, bool json);

}  // namespace gogrid

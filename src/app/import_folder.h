// `gogrid models import FOLDER`.
#pragma once

#include <filesystem>
#include <string>

#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "model/model_library.h"

namespace gogrid {

// A model's name made from a folder's: "Qwen3-0.6B/" -> "qwen3-0.6b".
std::string name_from_folder(const std::filesystem::path& folder);

// Imports the folder `command.file`; what whoever asked should know goes to stderr. A long job
// (app/long_job.h).
Result<ModelEntry> import_folder(const Workspace& workspace, ModelLibrary& library,
                                 const ModelsCommand& command, const std::string& name);

}  // namespace gogrid

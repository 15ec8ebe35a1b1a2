// `gogrid models pull`.
#pragma once

#include "app/workspace.h"
#include "cli/options.h"
#include "model/model_pull.h"

namespace gogrid {

// A long job (app/long_job.h): it pauses between chunks, and says why. Ctrl-C ends it, and the same
// command goes on there.
Result<PullReport> pull_command(const Workspace& workspace, ModelLibrary& library,
                                const ModelsCommand& command);

}  // namespace gogrid

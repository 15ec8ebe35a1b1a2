// `gogrid models pull`.
#pragma once

#include <functional>

#include "cli/options.h"
#include "model/model_pull.h"

namespace gogrid {

// `keep_going` is asked between chunks: false while a pause lasts. Empty: never one. Ctrl-C ends
// it, and the same command goes on there.
Result<PullReport> pull_command(ModelLibrary& library, const ModelsCommand& command,
                                const std::function<bool()>& keep_going);

}  // namespace gogrid

// A compatibility report as JSON text: for /admin/v1/models/{name}/compatibility and for
// `gogrid models check --json` (docs/cli.md has the fields).
#pragma once

#include <string>

#include "placement/compatibility.h"

namespace gogrid {

std::string compatibility_json(const CompatibilityReport& report);

}  // namespace gogrid

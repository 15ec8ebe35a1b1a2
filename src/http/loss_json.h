// A measured loss as JSON: for /admin/v1/status and for what the commands print (docs/cli.md has
// the fields).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/model_loss.h"

namespace gogrid {

nlohmann::ordered_json json_of(const ModelLoss& loss);

}  // namespace gogrid

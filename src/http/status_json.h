// /admin/v1/status and /v1/models as JSON text.
#pragma once

#include <string>

#include "service/status_service.h"

namespace gogrid {

std::string status_json(const StatusReport& report);
std::string models_json(const std::vector<ModelStatus>& models);
// `name`: the model's, or one of its aliases.
std::string model_json(const ModelStatus& model, const std::string& name);

}  // namespace gogrid

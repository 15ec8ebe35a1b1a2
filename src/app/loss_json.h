// A measured loss as the commands print it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "model/model_loss.h"

namespace gogrid {

nlohmann::ordered_json json_of(const ModelLoss& loss);
// "against base: KL 0.0123 (p99 0.2), perplexity 13.1 (12.9), same top token 93.4 %".
std::string text_of(const ModelLoss& loss);

}  // namespace gogrid

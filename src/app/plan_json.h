// A plan as the commands print it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "placement/plan.h"

namespace gogrid {

nlohmann::ordered_json json_of(const Plan& plan);
nlohmann::ordered_json json_of_stages(const Plan& plan);
void print_plan(const Plan& plan);

}  // namespace gogrid

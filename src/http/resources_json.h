// /admin/v1/resources as JSON text.
#pragma once

#include <string>

#include "service/resource_service.h"

namespace gogrid {

// What is not known is null, with the reason under "unknown".
std::string resources_json(const ResourceReport& report);

}  // namespace gogrid

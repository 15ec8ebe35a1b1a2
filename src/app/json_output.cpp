#include "app/json_output.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace gogrid {

void print_json(const nlohmann::ordered_json& json) {
  const auto replace = nlohmann::ordered_json::error_handler_t::replace;
  std::printf("%s\n", json.dump(-1, ' ', false, replace).c_str());
}

}  // namespace gogrid

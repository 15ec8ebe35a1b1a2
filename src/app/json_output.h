// What the commands print as JSON: one value, on one line of standard output.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace gogrid {

// Names, paths and what models say of themselves need not be UTF-8: what is not becomes U+FFFD, so
// that the answer is JSON whatever they are.
void print_json(const nlohmann::ordered_json& json);

}  // namespace gogrid

// MODEL arguments that name an adapter beside the model: "BASE+ADAPTER", "BASE+ADAPTER@0.5".
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace gogrid {

struct ModelArgument {
  std::string base;     // a library name or a path, as the argument has it
  std::string adapter;  // the same; empty: none
  float scale = 1.0F;   // of what the adapter adds
};

// Whether a MODEL argument is a path: anything with a '/' or ending in .gguf.
bool is_path(std::string_view model);

// An argument that is the path of a file is one model, whatever characters it has. An `@` before
// something that is no number belongs to the adapter's name. kInvalidArgument where one side of the
// `+` is empty, or the scale not above 0 and up to 100.
Result<ModelArgument> parse_model_argument(std::string_view text);

}  // namespace gogrid

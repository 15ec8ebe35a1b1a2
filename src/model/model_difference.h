// What differs between the headers of two model files.
#pragma once

#include <string>
#include <vector>

#include "model/gguf_file.h"

namespace gogrid {

// A key or a tensor that is not the same in both; "absent" where one has none.
struct Difference {
  std::string name;
  std::string left;
  std::string right;
};

struct ModelDifference {
  std::vector<Difference> metadata;  // in the order of the left file, then what only the right has
  std::vector<Difference> tensors;   // the same; by type, shape and size: data are not read
};

// Values are shortened: of arrays the number of elements, and the first that differs. Linear in the
// headers but for look-ups by name.
ModelDifference compare_models(const GgufFile& left, const GgufFile& right);

}  // namespace gogrid

// A step is checked against what the cache holds before libllama sees it, whose answer to a wrong
// batch is to end the process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stage/stage.h"

namespace gogrid {

struct StepShape {
  std::string where;  // how messages begin
  bool first = true;
  bool last = true;
  std::uint32_t n_embd = 0;
  std::uint32_t n_vocab = 0;  // of the token embedding; read by the first stage
  std::uint32_t context = 0;
  std::uint32_t max_rows = 0;
};

// kCorrupt when the step is not what this stage can run. `lengths`: the number of positions each
// slot holds; what it holds after the step on return.
Status check_step(const StepShape& shape, const StageInput& input,
                  std::vector<std::int32_t>& lengths);

}  // namespace gogrid

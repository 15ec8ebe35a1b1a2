// Sees what the weights of a model are multiplied with while it runs.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace gogrid {

// One row that goes into a product with a weight.
struct Activation {
  std::string_view weight;     // "blk.0.ffn_down_exps.weight"
  std::uint32_t matrix = 0;    // of a weight that is a stack of them, as experts are
  std::uint32_t matrices = 1;  // in the stack
  bool chosen = false;         // by a router: each matrix then has rows of its own
  std::span<const float> row;  // as long as the weight's rows
};

// Called from the thread that runs the stage, in the middle of a step; must not throw. Must outlive
// the stage. See StageSpec::activations.
class ActivationSink {
 public:
  virtual ~ActivationSink() = default;
  virtual void add(const Activation& activation) noexcept = 0;
};

}  // namespace gogrid

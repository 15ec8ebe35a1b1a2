// Reads the hidden state out of the middle of a running graph, and stops the graph there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

struct ggml_tensor;

namespace gogrid {

// The eval callback of a context (llama_context_params::cb_eval, with the tap as user data). Not
// thread-safe: one per context; must outlive it.
class LayerTap {
 public:
  enum class Outcome : std::uint8_t {
    kUnseen,      // the graph named no such node
    kCopied,      // the rows are where they were wanted
    kOtherShape,  // the node is not rows of n_embd floats
  };

  // Taps `l_out-<layer>`: what libllama calls the output of a layer.
  explicit LayerTap(std::uint32_t layer) : node_("l_out-" + std::to_string(layer)) {}

  // The next run of the graph writes its rows here: exactly target.size() floats.
  void arm(std::span<float> target) {
    target_ = target;
    outcome_ = Outcome::kUnseen;
  }
  Outcome outcome() const { return outcome_; }
  const std::string& node() const { return node_; }

  // ggml_backend_sched_eval_callback. After the node the rest of the graph (final norm, head) is
  // not computed.
  static bool on_node(ggml_tensor* tensor, bool ask, void* tap) noexcept;

 private:
  const std::string node_;
  std::span<float> target_;
  Outcome outcome_ = Outcome::kUnseen;
};

}  // namespace gogrid

// Reads the inputs of a graph's matrix products while it runs.
#pragma once

#include <cstddef>
#include <vector>

#include "stage/activation_sink.h"

struct ggml_tensor;

namespace gogrid {

// The eval callback of a context (llama_context_params::cb_eval, with the tap as user data): hands
// the rows that go into each product with a weight of a layer to a sink. Not thread-safe: one per
// context; must outlive it.
class ProductTap {
 public:
  explicit ProductTap(ActivationSink& sink) : sink_(sink) {}

  // ggml_backend_sched_eval_callback. The graph always goes on.
  static bool on_node(ggml_tensor* tensor, bool ask, void* tap) noexcept;

 private:
  void take(const ggml_tensor& product);
  void take_plain(const ggml_tensor& product, std::string_view weight, const std::byte* data);
  void take_chosen(const ggml_tensor& product, std::string_view weight, const std::byte* data);

  ActivationSink& sink_;
  std::vector<std::byte> copy_;  // of what is not in the host's memory
  std::vector<std::byte> ids_;
};

}  // namespace gogrid

#include "stage/layer_tap.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <string_view>

namespace gogrid {

bool LayerTap::on_node(ggml_tensor* tensor, bool ask, void* tap) noexcept {
  auto& self = *static_cast<LayerTap*>(tap);
  const bool ours = std::string_view(ggml_get_name(tensor)) == self.node_;
  if (ask) return ours;
  if (!ours) return true;
  if (tensor->type != GGML_TYPE_F32 || !ggml_is_contiguous(tensor) ||
      ggml_nbytes(tensor) != self.target_.size_bytes()) {
    self.outcome_ = Outcome::kOtherShape;
    return false;
  }
  ggml_backend_tensor_get(tensor, self.target_.data(), 0, self.target_.size_bytes());
  self.outcome_ = Outcome::kCopied;
  return false;
}

}  // namespace gogrid

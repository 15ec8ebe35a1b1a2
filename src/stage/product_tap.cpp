#include "stage/product_tap.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <cstdint>
#include <cstring>
#include <string_view>

#include "obs/log.h"

namespace gogrid {
namespace {

// A scheduler names its copies "DEVICE#blk.0.attn_q.weight#0".
std::string_view weight_name(const ggml_tensor& tensor) {
  std::string_view name = ggml_get_name(&tensor);
  const auto mark = name.find('#');
  if (mark == name.npos) return name;
  name.remove_prefix(mark + 1);
  return name.substr(0, name.find('#'));
}

bool is_wanted(const ggml_tensor& node) {
  if (node.op != GGML_OP_MUL_MAT && node.op != GGML_OP_MUL_MAT_ID) return false;
  return node.src[1]->type == GGML_TYPE_F32 && node.src[1]->nb[0] == sizeof(float) &&
         weight_name(*node.src[0]).starts_with("blk.");
}

// Where the numbers are, or are copied to.
const std::byte* host_data(const ggml_tensor& tensor, std::vector<std::byte>& copy) {
  if (tensor.buffer != nullptr && ggml_backend_buffer_is_host(tensor.buffer))
    return static_cast<const std::byte*>(tensor.data);
  copy.resize(ggml_nbytes(&tensor));
  ggml_backend_tensor_get(&tensor, copy.data(), 0, copy.size());
  return copy.data();
}

std::span<const float> row_at(const std::byte* data, std::size_t offset, std::int64_t columns) {
  return {reinterpret_cast<const float*>(data + offset), static_cast<std::size_t>(columns)};
}

}  // namespace

bool ProductTap::on_node(ggml_tensor* tensor, bool ask, void* tap) noexcept {
  if (!is_wanted(*tensor)) return !ask;
  if (ask) return true;
  try {
    static_cast<ProductTap*>(tap)->take(*tensor);
  } catch (...) {  // called from C: no memory for the copy
    log::error("activations_lost", {{"node", std::string_view(ggml_get_name(tensor))}});
    return false;
  }
  return true;
}

void ProductTap::take(const ggml_tensor& product) {
  const std::string_view weight = weight_name(*product.src[0]);
  const std::byte* data = host_data(*product.src[1], copy_);
  if (product.op == GGML_OP_MUL_MAT_ID)
    take_chosen(product, weight, data);
  else
    take_plain(product, weight, data);
}

// Input [columns, rows, …]; a stack of matrices is repeated over what lies beyond.
void ProductTap::take_plain(const ggml_tensor& product, std::string_view weight,
                            const std::byte* data) {
  const ggml_tensor& stack = *product.src[0];
  const ggml_tensor& input = *product.src[1];
  Activation activation{.weight = weight,
                        .matrices = static_cast<std::uint32_t>(stack.ne[2] * stack.ne[3]),
                        .row = {}};
  for (std::int64_t i3 = 0; i3 < input.ne[3]; ++i3) {
    for (std::int64_t i2 = 0; i2 < input.ne[2]; ++i2) {
      activation.matrix =
          static_cast<std::uint32_t>((i3 % stack.ne[3]) * stack.ne[2] + i2 % stack.ne[2]);
      for (std::int64_t i1 = 0; i1 < input.ne[1]; ++i1) {
        const auto offset = static_cast<std::size_t>(i1) * input.nb[1] +
                            static_cast<std::size_t>(i2) * input.nb[2] +
                            static_cast<std::size_t>(i3) * input.nb[3];
        activation.row = row_at(data, offset, input.ne[0]);
        sink_.add(activation);
      }
    }
  }
}

// Input [columns, 1 or used, tokens]; ids [used, tokens]: which matrix each of a token's uses
// takes.
void ProductTap::take_chosen(const ggml_tensor& product, std::string_view weight,
                             const std::byte* data) {
  const ggml_tensor& input = *product.src[1];
  const ggml_tensor& ids = *product.src[2];
  const std::byte* chosen = host_data(ids, ids_);
  const auto matrices = static_cast<std::uint32_t>(product.src[0]->ne[2]);
  Activation activation{.weight = weight, .matrices = matrices, .chosen = true, .row = {}};
  for (std::int64_t token = 0; token < ids.ne[1]; ++token) {
    for (std::int64_t use = 0; use < ids.ne[0]; ++use) {
      std::int32_t id = 0;
      std::memcpy(&id,
                  chosen + static_cast<std::size_t>(token) * ids.nb[1] +
                      static_cast<std::size_t>(use) * ids.nb[0],
                  sizeof id);
      if (id < 0 || static_cast<std::uint32_t>(id) >= matrices) continue;
      activation.matrix = static_cast<std::uint32_t>(id);
      const auto offset = static_cast<std::size_t>(use % input.ne[1]) * input.nb[1] +
                          static_cast<std::size_t>(token) * input.nb[2];
      activation.row = row_at(data, offset, input.ne[0]);
      sink_.add(activation);
    }
  }
}

}  // namespace gogrid

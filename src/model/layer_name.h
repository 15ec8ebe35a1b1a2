// Which layer a tensor belongs to, by its name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace gogrid {

// "blk.12.attn_q.weight" is of layer 12, and its rest ".attn_q.weight".
struct LayerName {
  std::uint32_t layer = 0;
  std::string_view rest;  // a view into what was parsed
};

// Empty for a tensor of no layer.
std::optional<LayerName> parse_layer_name(std::string_view name);

}  // namespace gogrid

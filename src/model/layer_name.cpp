#include "model/layer_name.h"

#include <charconv>

namespace gogrid {

std::optional<LayerName> parse_layer_name(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view number = name.substr(kPrefix.size());
  LayerName parsed;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), parsed.layer);
  parsed.rest = number.substr(static_cast<std::size_t>(end - number.data()));
  if (error != std::errc{} || !parsed.rest.starts_with('.')) return std::nullopt;
  return parsed;
}

}  // namespace gogrid

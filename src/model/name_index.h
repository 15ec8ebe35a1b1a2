// Positions in the order of their names, to find one by its name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

namespace gogrid {

// Sorts the positions 0..count-1 into `index`; a name that occurs twice comes back.
// `name_of`: position to string_view.
template <class Names>
std::optional<std::string_view> index_by_name(std::size_t count, const Names& name_of,
                                              std::vector<std::uint32_t>& index) {
  index.resize(count);
  std::iota(index.begin(), index.end(), 0U);
  std::ranges::sort(index, {}, name_of);
  const auto twice = std::ranges::adjacent_find(index, {}, name_of);
  if (twice == index.end()) return std::nullopt;
  return name_of(*twice);
}

}  // namespace gogrid

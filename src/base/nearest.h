// "Did you mean": the names closest to a mistyped one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gogrid {

// At most `limit` of `known`, nearest first by edit distance, only those near enough to be a
// plausible slip (distance <= max(2, a third of the longer name), or one a prefix of the other).
std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string> known,
                                       std::size_t limit = 3);

// " (did you mean a, b?)", or " (known: a, b, c)" when nothing is near; empty when `known` is.
std::string suggestion(std::string_view wanted, std::span<const std::string> known);

}  // namespace gogrid

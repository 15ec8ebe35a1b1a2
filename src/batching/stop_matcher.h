// Finds stop strings in text that comes bit by bit.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gogrid {

// Knuth-Morris-Pratt, one automaton for each stop string: a byte costs O(1) amortised per string,
// however often the strings begin in vain.
//
// Not thread-safe: one per stream.
class StopMatcher {
 public:
  // Empty strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  // The length of the stop string that ends with `byte`, the longest if several do; 0: none does.
  std::size_t push(char byte);
  // How many of the last bytes may be the beginning of a stop string.
  std::size_t partial() const;
  bool empty() const { return patterns_.empty(); }

 private:
  struct Pattern {
    std::string text;
    std::vector<std::size_t> fallback;  // [n]: longest border of the first n bytes
    std::size_t matched = 0;
  };
  std::vector<Pattern> patterns_;
};

}  // namespace gogrid

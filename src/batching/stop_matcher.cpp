#include "batching/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

std::vector<std::size_t> borders(const std::string& text) {
  std::vector<std::size_t> result(text.size() + 1, 0);
  std::size_t length = 0;
  for (std::size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = result[length];
    if (text[i] == text[length]) ++length;
    result[i + 1] = length;
  }
  return result;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    auto fallback = borders(stop);
    patterns_.push_back({std::move(stop), std::move(fallback)});
  }
}

std::size_t StopMatcher::push(char byte) {
  std::size_t longest = 0;
  for (Pattern& pattern : patterns_) {
    std::size_t& matched = pattern.matched;
    if (matched == pattern.text.size()) matched = pattern.fallback[matched];
    while (matched > 0 && pattern.text[matched] != byte) matched = pattern.fallback[matched];
    if (pattern.text[matched] == byte) ++matched;
    if (matched == pattern.text.size()) longest = std::max(longest, matched);
  }
  return longest;
}

std::size_t StopMatcher::partial() const {
  std::size_t longest = 0;
  for (const Pattern& pattern : patterns_) longest = std::max(longest, pattern.matched);
  return longest;
}

}  // namespace gogrid

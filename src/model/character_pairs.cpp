#include "model/character_pairs.h"

#include <algorithm>

namespace gogrid {
namespace {

std::uint64_t packed(std::string_view character) {
  std::uint64_t bytes = 0;
  for (const char c : character) bytes = bytes << 8U | static_cast<unsigned char>(c);
  return bytes;
}
std::uint64_t key(std::string_view left, std::string_view right) {
  return packed(left) << 32U | packed(right);
}

}  // namespace

std::string_view character_at(std::string_view text, std::size_t at) {
  if (at >= text.size()) return {};
  const std::size_t size = character_size(text[at]);
  if (size > text.size() - at) return {};
  if (size == 1 && static_cast<unsigned char>(text[at]) >= 0x80) return {};
  for (std::size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return {};
  }
  return text.substr(at, size);
}

std::string_view character_before(std::string_view text, std::size_t at) {
  for (std::size_t size = 1; size <= 4 && size <= at; ++size) {
    const std::size_t begin = at - size;
    if (character_at(text, begin).size() != size) continue;
    for (std::size_t back = 1; back < 4 && back <= begin; ++back) {
      if (character_size(text[begin - back]) > back) return {};
    }
    return text.substr(begin, size);
  }
  return {};
}

void CharacterPairs::add(std::string_view text) {
  for (std::size_t at = 1; at < text.size(); ++at) {
    const std::string_view right = character_at(text, at);
    if (right.empty()) continue;
    // Not `character_before`: here any reading counts.
    for (std::size_t size = 1; size <= 4 && size <= at; ++size) {
      const std::string_view left = character_at(text, at - size);
      if (left.size() == size) pairs_.push_back(key(left, right));
    }
  }
  if (pairs_.size() < compact_at_) return;
  seal();
  compact_at_ = std::max(compact_at_, 2 * pairs_.size());
}

void CharacterPairs::seal() {
  std::ranges::sort(pairs_);
  pairs_.erase(std::ranges::unique(pairs_).begin(), pairs_.end());
}

bool CharacterPairs::contains(std::string_view left, std::string_view right) const {
  return std::ranges::binary_search(pairs_, key(left, right));
}

}  // namespace gogrid

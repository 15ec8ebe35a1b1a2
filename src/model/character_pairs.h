// Characters of UTF-8 text, and which of them stand side by side in a vocabulary's tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace gogrid {

// Bytes that the character beginning with `lead` takes; 1 within a character.
constexpr std::size_t character_size(char lead) {
  const auto high = static_cast<unsigned char>(lead) >> 4U;
  return high < 12 ? 1 : high < 14 ? 2 : high == 14 ? 3 : 4;
}

// The character at `at`, or the one that ends there. Empty where the bytes are none, or where bytes
// before it could make a reader that trusts lead bytes see another one.
std::string_view character_at(std::string_view text, std::size_t at);
std::string_view character_before(std::string_view text, std::size_t at);

// Every pair of characters that stand side by side in one of the added texts. Thread-safe once
// sealed.
class CharacterPairs {
 public:
  void add(std::string_view text);
  void seal();  // before the first question
  // Whether any text has `right` just behind `left`; both are characters.
  bool contains(std::string_view left, std::string_view right) const;

 private:
  std::vector<std::uint64_t> pairs_;
  std::size_t compact_at_ = std::size_t{1} << 20;  // most pairs come many times
};

}  // namespace gogrid

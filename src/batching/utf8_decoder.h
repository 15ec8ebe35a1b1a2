// Bytes that may break anywhere, to text that is valid UTF-8.
#pragma once

#include <cstddef>
#include <string>

namespace gogrid {

// As the WHATWG Encoding Standard decodes UTF-8: each maximal part of a broken character becomes
// one U+FFFD; surrogates, overlong forms and what lies above U+10FFFF are broken.
//
// Not thread-safe: one per stream.
class Utf8Decoder {
 public:
  // Appends to `text` what `byte` completes; nothing while a character is incomplete.
  void push(char byte, std::string& text);
  // Appends U+FFFD for a character that stayed incomplete.
  void finish(std::string& text);
  // Bytes of the incomplete character.
  std::size_t pending() const { return partial_.size(); }

 private:
  void begin(unsigned char byte, std::string& text);

  std::string partial_;
  std::size_t needed_ = 0;      // bytes that the character has in all
  unsigned char lower_ = 0x80;  // what the next byte may be
  unsigned char upper_ = 0xBF;
};

// True when decoding `text` changes nothing.
bool is_valid_utf8(const std::string& text);

}  // namespace gogrid

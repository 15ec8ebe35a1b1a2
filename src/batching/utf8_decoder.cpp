#include "batching/utf8_decoder.h"

namespace gogrid {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

}  // namespace

void Utf8Decoder::begin(unsigned char byte, std::string& text) {
  lower_ = 0x80;
  upper_ = 0xBF;
  if (byte < 0x80) {
    text.push_back(static_cast<char>(byte));
    return;
  }
  if (byte >= 0xC2 && byte <= 0xDF) {
    needed_ = 2;
  } else if (byte >= 0xE0 && byte <= 0xEF) {
    needed_ = 3;
    if (byte == 0xE0) lower_ = 0xA0;  // below: overlong
    if (byte == 0xED) upper_ = 0x9F;  // above: surrogates
  } else if (byte >= 0xF0 && byte <= 0xF4) {
    needed_ = 4;
    if (byte == 0xF0) lower_ = 0x90;  // below: overlong
    if (byte == 0xF4) upper_ = 0x8F;  // above: past U+10FFFF
  } else {
    text += kReplacement;
    return;
  }
  partial_.push_back(static_cast<char>(byte));
}

void Utf8Decoder::push(char raw, std::string& text) {
  const auto byte = static_cast<unsigned char>(raw);
  if (partial_.empty()) return begin(byte, text);
  if (byte < lower_ || byte > upper_) {
    partial_.clear();
    text += kReplacement;
    return begin(byte, text);
  }
  lower_ = 0x80;
  upper_ = 0xBF;
  partial_.push_back(raw);
  if (partial_.size() < needed_) return;
  text += partial_;
  partial_.clear();
}

void Utf8Decoder::finish(std::string& text) {
  if (!partial_.empty()) text += kReplacement;
  partial_.clear();
}

bool is_valid_utf8(const std::string& text) {
  Utf8Decoder decoder;
  std::string decoded;
  for (const char byte : text) decoder.push(byte, decoded);
  decoder.finish(decoded);
  return decoded == text;
}

}  // namespace gogrid

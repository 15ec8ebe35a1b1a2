#include "batching/text_assembler.h"

#include <utility>

namespace gogrid {
namespace {

std::vector<std::string> only_valid(std::vector<std::string> stops) {
  std::erase_if(stops, [](const std::string& stop) { return !is_valid_utf8(stop); });
  return stops;
}

std::size_t less(std::size_t a, std::size_t b) { return a > b ? a - b : 0; }

}  // namespace

TextAssembler::TextAssembler(std::vector<std::string> stop)
    : matcher_(only_valid(std::move(stop))) {}

bool TextAssembler::match(const std::string& decoded) {
  for (const char byte : decoded) {
    pending_.push_back(byte);
    const std::size_t stop = matcher_.push(byte);
    if (stop == 0) continue;
    ended_ = true;
    released_ = less(pushed_, stop);
    pending_.resize(pending_.size() - stop);
    return true;
  }
  return false;
}

TextAssembler::Output TextAssembler::push(std::string_view piece) {
  if (ended_) return {};
  std::string decoded;
  for (const char byte : piece) {
    ++pushed_;
    decoded.clear();
    decoder_.push(byte, decoded);
    if (match(decoded)) return {std::exchange(pending_, {}), true};
  }
  const std::size_t held = matcher_.partial();
  Output output{pending_.substr(0, pending_.size() - held), false};
  pending_.erase(0, pending_.size() - held);
  released_ = less(pushed_, held + decoder_.pending());
  return output;
}

TextAssembler::Output TextAssembler::finish() {
  if (ended_) return {};
  std::string decoded;
  decoder_.finish(decoded);
  const bool stopped = match(decoded);
  if (!stopped) released_ = pushed_;
  ended_ = true;
  return {std::exchange(pending_, {}), stopped};
}

}  // namespace gogrid

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

TextAssembler::Output TextAssembler::push(std::string_view piece) {
  Output output;
  if (ended_) return output;
  std::string decoded;
  for (const char raw : piece) {
    ++pushed_;
    decoded.clear();
    decoder_.push(raw, decoded);
    for (const char byte : decoded) {
      pending_.push_back(byte);
      const std::size_t stop = matcher_.push(byte);
      if (stop == 0) continue;
      ended_ = output.stopped = true;
      released_ = less(pushed_, stop);
      pending_.resize(pending_.size() - stop);
      output.text = std::exchange(pending_, {});
      return output;
    }
  }
  const std::size_t held = matcher_.partial();
  output.text = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, pending_.size() - held);
  released_ = less(pushed_, held + decoder_.pending());
  return output;
}

std::string TextAssembler::finish() {
  if (ended_) return {};
  ended_ = true;
  decoder_.finish(pending_);
  released_ = pushed_;
  return std::exchange(pending_, {});
}

}  // namespace gogrid

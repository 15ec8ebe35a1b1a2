#include "batching/delta_builder.h"

#include <utility>

namespace gogrid {

DeltaBuilder::DeltaBuilder(const Vocabulary& vocabulary, std::vector<std::string> stop,
                           bool with_bytes)
    : vocabulary_(vocabulary), with_bytes_(with_bytes), assembler_(std::move(stop)) {}

bool DeltaBuilder::push(TokenEvent event) {
  const std::string piece = vocabulary_.piece(event.chosen.token, false);
  if (with_bytes_) fill_bytes(event);
  auto output = assembler_.push(piece);
  held_.push_back({std::move(event), pushed_, pushed_ + piece.size()});
  pushed_ += piece.size();
  ready_.text += output.text;
  stopped_ = stopped_ || output.stopped;
  release_events(assembler_.released(), stopped_);
  return output.stopped;
}

// Alternatives that are control tokens show their names; nobody sees their (empty) text.
void DeltaBuilder::fill_bytes(TokenEvent& event) const {
  event.chosen.bytes = vocabulary_.piece(event.chosen.token, true);
  for (TokenProbability& other : event.top) other.bytes = vocabulary_.piece(other.token, true);
}

void DeltaBuilder::release_events(std::size_t released, bool with_broken) {
  while (!held_.empty()) {
    const Held& first = held_.front();
    if (first.end > released && !(with_broken && first.begin < released)) break;
    ready_.tokens.push_back(std::move(held_.front().event));
    held_.pop_front();
  }
  if (stopped_) held_.clear();
}

Delta DeltaBuilder::take() { return std::exchange(ready_, {}); }

Delta DeltaBuilder::finish() {
  if (!stopped_) {
    auto output = assembler_.finish();
    ready_.text += output.text;
    stopped_ = output.stopped;
    release_events(assembler_.released(), true);
  }
  return take();
}

}  // namespace gogrid

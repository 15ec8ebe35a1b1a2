// Sampled tokens to the deltas of a stream: text and events leave together.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "batching/text_assembler.h"
#include "model/vocabulary.h"
#include "request/response_sink.h"

namespace gogrid {

// A token's event leaves with the delta that holds the last byte of its text. Tokens that lie
// wholly in a stop string never leave. Not thread-safe: one per sequence. `vocabulary` must outlive
// it.
class DeltaBuilder {
 public:
  // `with_bytes`: log-probabilities were asked for; their bytes are filled in.
  DeltaBuilder(const Vocabulary& vocabulary, std::vector<std::string> stop, bool with_bytes);

  // True when the token completed a stop string; then finish() is all that is left to call.
  bool push(TokenEvent event);
  // What may be sent now.
  Delta take();
  // All that is left, at the end of generation.
  Delta finish();

 private:
  struct Held {
    TokenEvent event;
    std::size_t begin;  // of its bytes among all
    std::size_t end;
  };
  void fill_bytes(TokenEvent& event) const;
  void release_events(std::size_t released, bool with_broken);

  const Vocabulary& vocabulary_;
  const bool with_bytes_;
  TextAssembler assembler_;
  std::deque<Held> held_;
  std::size_t pushed_ = 0;
  bool stopped_ = false;
  Delta ready_;
};

}  // namespace gogrid

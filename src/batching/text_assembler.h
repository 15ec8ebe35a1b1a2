// Token pieces to text that may be sent: whole UTF-8 characters, nothing of a stop string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "batching/stop_matcher.h"
#include "batching/utf8_decoder.h"

namespace gogrid {

// What comes out does not depend on where the pieces break. Not thread-safe: one per sequence.
class TextAssembler {
 public:
  // Stop strings that are empty or not valid UTF-8 are ignored: they never occur in the text.
  explicit TextAssembler(std::vector<std::string> stop);

  struct Output {
    std::string text;      // to send now
    bool stopped = false;  // a stop string was completed; `text` ends before it
  };
  // Adds a token's bytes. Holds back an incomplete character and what may be the beginning of a
  // stop string. Bytes that can never become valid UTF-8 come out as U+FFFD. The stop string that
  // is completed first ends the text, the longest if several end at the same byte. Nothing comes
  // after the end.
  Output push(std::string_view piece);
  // What was held back, at the end of generation. An incomplete character becomes U+FFFD, which may
  // complete a stop string.
  Output finish();

  // Of all bytes pushed, how many have come out as text; at the end by a stop string, where it
  // began.
  std::size_t released() const { return released_; }

 private:
  // Adds decoded bytes to pending_. True when they complete a stop string.
  bool match(const std::string& decoded);

  Utf8Decoder decoder_;
  StopMatcher matcher_;
  std::string pending_;  // decoded, perhaps the beginning of a stop string
  std::size_t pushed_ = 0;
  std::size_t released_ = 0;
  bool ended_ = false;
};

}  // namespace gogrid

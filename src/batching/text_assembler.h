// Token pieces to text that may be sent: whole UTF-8 characters, nothing of a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gogrid {

// Not thread-safe: one per sequence.
class TextAssembler {
 public:
  explicit TextAssembler(std::vector<std::string> stop);

  struct Output {
    std::string text;      // to send now
    bool stopped = false;  // a stop string was completed; `text` ends before it
  };
  // Adds a token's bytes. Holds back an incomplete character and what may be the beginning of a
  // stop string. Bytes that can never become valid UTF-8 come out as U+FFFD.
  Output push(std::string_view piece);
  // What was held back, at the end of generation.
  std::string finish();

 private:
  std::vector<std::string> stop_;
  std::string pending_;
};

}  // namespace gogrid

// What the layers that turn tokens into text need of a tokenizer.
#pragma once

#include <string>

#include "request/sampling_spec.h"

namespace gogrid {

// Thread-safe. Implementations: Tokenizer, FakeVocabulary (tests).
class Vocabulary {
 public:
  virtual ~Vocabulary() = default;
  // The token's raw bytes; may be part of a UTF-8 character. Control tokens: empty unless
  // `special`.
  virtual std::string piece(Token token, bool special) const = 0;
  virtual bool ends_generation(Token token) const = 0;
};

}  // namespace gogrid

// The way up: what a generation tells whoever asked. Lies below everyone so that data flow down and
// tokens flow up without an upward include.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "request/sampling_spec.h"

namespace gogrid {

struct Usage {
  std::uint32_t prompt_tokens = 0;
  std::uint32_t completion_tokens = 0;
  std::uint32_t cached_prompt_tokens = 0;  // of prompt_tokens, those whose KV was reused
};

struct TokenProbability {
  Token token = 0;
  float logprob = 0.0F;  // natural logarithm, of the distribution before temperature and filters
  std::string bytes;     // the token's raw bytes; may be part of a UTF-8 character
};

struct TokenEvent {
  TokenProbability chosen;  // logprob and bytes only when log-probabilities were asked for
  std::vector<TokenProbability> top;  // the k alternatives asked for, most likely first
};

// One step's worth of a stream.
struct Delta {
  std::string text;  // whole UTF-8 characters only; may be empty while one is incomplete
  std::vector<TokenEvent> tokens;  // what produced it, in order
};

enum class FinishReason : std::uint8_t {
  kStop,    // end of generation, or a stop string
  kLength,  // max_tokens or the context's end
};

struct Finish {
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  Duration queued{};   // submit to first step
  Duration prefill{};  // first step to first token
  Duration decode{};   // first token to last
};

enum class SinkState : std::uint8_t {
  kMore,  // go on
  kSlow,  // the reader is behind: hold this sequence until state() says kMore
  kGone,  // nobody reads: end the sequence
};

// Between two signs of life to whoever waits: intermediaries close silent connections.
inline constexpr Duration kLongestSilence = std::chrono::seconds(15);

// Called from one thread at a time (the batcher's); must not block. on_delta any number of times,
// then exactly one of on_finish and on_error, after which the sink is not touched again.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  virtual SinkState on_delta(Delta delta) = 0;
  virtual void on_finish(const Finish& finish) = 0;
  virtual void on_error(const Error& error, const Usage& so_far) = 0;
  // Nothing comes for a while, and why: at the beginning of a pause, and whenever it was silent for
  // kLongestSilence.
  virtual void on_waiting(const std::string& why) { (void)why; }
  // Polled for sequences that are slow, and for all once a step. Thread-safe.
  virtual SinkState state() const = 0;
};

}  // namespace gogrid

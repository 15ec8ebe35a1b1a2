// How the next token is chosen. A value: with the tokens so far it determines the choice
// completely, on whichever stage, in whichever batch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace gogrid {

using Token = std::int32_t;

struct LogitBias {
  Token token;
  float bias;  // added to the logit; -100 bans, 100 forces (OpenAI's scale)
  bool operator==(const LogitBias&) const = default;
};

struct SamplingSpec {
  float temperature = 1.0F;  // 0: always the most likely token. 0..2.
  std::int32_t top_k = 0;    // keep the k most likely; 0: all
  float top_p = 1.0F;        // keep the smallest set of at least this probability; 1: all. (0..1]
  float min_p =
      0.05F;  // drop what is less likely than this share of the most likely; 0: none. 0..1
  float frequency_penalty = 0.0F;  // per occurrence among the generated tokens. -2..2
  float presence_penalty = 0.0F;   // once if among the generated tokens. -2..2
  float repeat_penalty =
      1.0F;  // divides positive, multiplies negative logits of recent tokens; 1: off. (0..10]
  std::int32_t repeat_window =
      64;  // how many last tokens, prompt included, repeat_penalty looks at; 0: off
  std::vector<LogitBias> logit_bias;
  std::uint64_t seed = 0;  // the random number of a token is a function of (seed, its position)
  std::int32_t top_logprobs =
      -1;  // -1: no log-probabilities; 0: the chosen token's; k <= 20: k alternatives too
  bool ban_end_of_text =
      false;  // never choose an end-of-generation token (benchmarks, `ignore_eos`)

  bool operator==(const SamplingSpec&) const = default;
  bool greedy() const { return temperature <= 0.0F; }
  bool penalizes() const {
    return frequency_penalty != 0.0F || presence_penalty != 0.0F || repeats_penalized();
  }
  bool repeats_penalized() const { return repeat_penalty != 1.0F && repeat_window > 0; }
};

// kInvalidArgument with `param` naming the field and its range. Also refuses NaN and infinity.
Status validate(const SamplingSpec& spec);

}  // namespace gogrid

// Logits to a token. Pure: (logits, spec, tokens so far, position) determine the result.
#pragma once

#include <cstdint>
#include <span>

#include "request/response_sink.h"
#include "request/sampling_spec.h"
#include "stage/stage.h"

namespace gogrid {

// Uniform in [0, 1), a function of its arguments only (Philox-like counter hash): the random number
// of the token at `position`.
double uniform_at(std::uint64_t seed, std::uint64_t position);

// `logits`: [n_vocab], changed by penalties and bias. `end_tokens`: banned when the spec says so.
// Order: bias and bans, penalties, (log-probabilities are of this distribution), top_k, top_p,
// min_p, temperature, draw. Ties go to the lower token id. `row.error` is set when no finite logit
// is left or any logit is NaN. `bytes` of the probabilities are left empty: the batcher has the
// vocabulary.
SampledRow sample(std::span<float> logits, const OutputSpec& output, std::int32_t position,
                  std::span<const Token> end_tokens);

}  // namespace gogrid

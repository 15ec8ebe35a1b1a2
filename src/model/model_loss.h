// What a model lost against the one it was made of, as it was measured.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

namespace gogrid {

// Over the second half of each chunk of a text, as llama-perplexity counts: the first half is
// context only. In nats.
struct ModelLoss {
  std::string base;             // name of the model it was compared with
  std::string base_digest;      // SHA-256 of its file
  std::string text_digest;      // SHA-256 of the text
  std::uint32_t context = 0;    // tokens of a chunk
  std::uint64_t positions = 0;  // that were compared
  double base_perplexity = 0;
  double perplexity = 0;
  double mean_kl = 0;   // Kullback-Leibler divergence from the base
  double p99_kl = 0;    // that 99 % of positions are below
  double same_top = 0;  // share of positions with the same most likely token

  bool operator==(const ModelLoss&) const = default;
};

// Whether each number is one: the perplexity of a model that is sure of what is wrong overflows.
inline bool is_finite(const ModelLoss& loss) {
  return std::isfinite(loss.base_perplexity) && std::isfinite(loss.perplexity) &&
         std::isfinite(loss.mean_kl) && std::isfinite(loss.p99_kl) && std::isfinite(loss.same_top);
}

}  // namespace gogrid

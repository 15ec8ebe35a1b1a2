// How far one model's next-token probabilities are from another's, over a text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/model_loss.h"
#include "request/sampling_spec.h"

namespace gogrid {

// What two models say at one position, in nats.
struct PositionLoss {
  double base_nll = 0;  // negative log-likelihood of the token that follows
  double nll = 0;
  double kl = 0;  // divergence of `other` from `base`: sum of p_base (log p_base - log p_other)
  bool same_top = false;
};

// Both rows are of the vocabulary's length, `next` is within it. kCorrupt when a number is not
// finite.
Result<PositionLoss> compare_logits(std::span<const float> base, std::span<const float> other,
                                    Token next);

// Sums over positions. Not thread-safe.
class LossTally {
 public:
  void add(const PositionLoss& position);
  std::uint64_t positions() const { return divergences_.size(); }
  // Its numbers; names and digests are the caller's. Of no position: zeros.
  ModelLoss total() const;

 private:
  double base_nll_ = 0;
  double nll_ = 0;
  double kl_ = 0;
  std::uint64_t same_top_ = 0;
  std::vector<float> divergences_;
};

// The value that a share of `values` is below of, between its neighbours where it falls between
// two; sorts them. 0 of none.
double quantile(std::vector<float> values, double share);

}  // namespace gogrid

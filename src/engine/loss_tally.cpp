#include "engine/loss_tally.h"

#include <algorithm>
#include <cmath>

namespace gogrid {
namespace {

constexpr double kHighest = 0.99;

// log of the sum of e^x.
double log_sum(std::span<const float> logits) {
  const float top = std::ranges::max(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  return static_cast<double>(top) + std::log(sum);
}

std::ptrdiff_t top_of(std::span<const float> logits) {
  return std::ranges::max_element(logits) - logits.begin();
}

}  // namespace

Result<PositionLoss> compare_logits(std::span<const float> base, std::span<const float> other,
                                    Token next) {
  const double base_sum = log_sum(base);
  const double other_sum = log_sum(other);
  if (!std::isfinite(base_sum) || !std::isfinite(other_sum)) {
    return fail(ErrorCode::kCorrupt, "[loss] logits that are numbers: NaN or infinite");
  }
  const auto at = static_cast<std::size_t>(next);
  PositionLoss loss;
  loss.base_nll = base_sum - static_cast<double>(base[at]);
  loss.nll = other_sum - static_cast<double>(other[at]);
  for (std::size_t i = 0; i < base.size(); ++i) {
    const double log_base = static_cast<double>(base[i]) - base_sum;
    const double log_other = static_cast<double>(other[i]) - other_sum;
    loss.kl += std::exp(log_base) * (log_base - log_other);
  }
  if (!std::isfinite(loss.kl) || !std::isfinite(loss.nll) || !std::isfinite(loss.base_nll)) {
    return fail(ErrorCode::kCorrupt, "[loss] logits that are numbers: NaN or infinite");
  }
  loss.same_top = top_of(base) == top_of(other);
  return loss;
}

void LossTally::add(const PositionLoss& position) {
  base_nll_ += position.base_nll;
  nll_ += position.nll;
  kl_ += position.kl;
  same_top_ += position.same_top ? 1 : 0;
  divergences_.push_back(static_cast<float>(position.kl));
}

ModelLoss LossTally::total() const {
  ModelLoss loss;
  loss.positions = positions();
  if (loss.positions == 0) return loss;
  const auto count = static_cast<double>(loss.positions);
  loss.base_perplexity = std::exp(base_nll_ / count);
  loss.perplexity = std::exp(nll_ / count);
  loss.mean_kl = kl_ / count;
  loss.p99_kl = quantile(divergences_, kHighest);
  loss.same_top = static_cast<double>(same_top_) / count;
  return loss;
}

double quantile(std::vector<float> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto above = std::min(below + 1, values.size() - 1);
  const double rest = place - static_cast<double>(below);
  return (1 - rest) * static_cast<double>(values[below]) +
         rest * static_cast<double>(values[above]);
}

}  // namespace gogrid

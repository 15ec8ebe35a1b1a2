#include "model/type_choice.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace gogrid {
namespace {

// Rounds of exchanges; each saves loss, and a few are enough.
constexpr int kMostRounds = 64;

// An option that none of the same tensor beats in both bytes and loss.
struct Candidate {
  std::size_t option = 0;
  Bytes bytes = 0;
  double loss = 0;
};
// Of one tensor, by bytes; losses fall.
using Candidates = std::vector<Candidate>;

Candidates candidates_of(const TypeOptions& options) {
  Candidates all;
  for (std::size_t i = 0; i < options.size(); ++i)
    all.push_back({i, options[i].bytes, options[i].loss});
  std::ranges::stable_sort(all, [](const Candidate& a, const Candidate& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
  });
  Candidates kept;
  for (const Candidate& one : all) {
    if (kept.empty() || one.loss < kept.back().loss) kept.push_back(one);
  }
  return kept;
}

double saved_by_byte(const Candidate& from, const Candidate& to) {
  return (from.loss - to.loss) / static_cast<double>(to.bytes - from.bytes);
}

// Positions of the candidates on the lower convex hull: what a step saves by the byte falls from
// each to the next.
std::vector<std::size_t> hull_of(const Candidates& candidates) {
  std::vector<std::size_t> hull;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    while (hull.size() >= 2 &&
           saved_by_byte(candidates[hull[hull.size() - 2]], candidates[hull.back()]) <=
               saved_by_byte(candidates[hull.back()], candidates[i])) {
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

class Chooser {
 public:
  Chooser(std::span<const TypeOptions> tensors, Bytes budget) : left_(budget) {
    for (const TypeOptions& options : tensors) tensors_.push_back(candidates_of(options));
    taken_.assign(tensors_.size(), 0);
    for (const Candidates& candidates : tensors_) left_ -= candidates.front().bytes;
  }

  std::vector<std::size_t> choose();

 private:
  struct Step {
    std::size_t tensor = 0;
    std::size_t from = 0;
    std::size_t to = 0;
    double saved_by_byte = 0;
  };

  const Candidate& now(std::size_t tensor) const { return tensors_[tensor][taken_[tensor]]; }
  // What the budget has left once `tensor` has this candidate; empty: it does not fit.
  std::optional<Bytes> left_with(std::size_t tensor, const Candidate& other, Bytes left) const {
    const Bytes with = left + now(tensor).bytes;
    return with < other.bytes ? std::nullopt : std::optional(with - other.bytes);
  }
  void take(std::size_t tensor, std::size_t candidate);
  void walk_hulls();
  bool spend_rest();
  bool exchange(std::size_t tensor);

  std::vector<Candidates> tensors_;
  std::vector<std::size_t> taken_;  // position among the tensor's candidates
  Bytes left_;
};

void Chooser::take(std::size_t tensor, std::size_t candidate) {
  left_ = left_ + now(tensor).bytes - tensors_[tensor][candidate].bytes;
  taken_[tensor] = candidate;
}

void Chooser::walk_hulls() {
  std::vector<Step> steps;
  for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
    const Candidates& candidates = tensors_[tensor];
    const auto hull = hull_of(candidates);
    for (std::size_t i = 1; i < hull.size(); ++i) {
      steps.push_back({tensor, hull[i - 1], hull[i],
                       saved_by_byte(candidates[hull[i - 1]], candidates[hull[i]])});
    }
  }
  // Those of one tensor stay in their order: each saves less by the byte than the one before.
  std::ranges::stable_sort(steps, std::greater(), &Step::saved_by_byte);
  for (const Step& step : steps) {
    if (taken_[step.tensor] != step.from) continue;  // one before did not fit
    if (left_with(step.tensor, tensors_[step.tensor][step.to], left_)) take(step.tensor, step.to);
  }
}

// The single change that saves most, of those that fit; false where none does.
bool Chooser::spend_rest() {
  double most = 0;
  std::size_t best_tensor = 0;
  std::size_t best = 0;
  for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
    for (std::size_t i = taken_[tensor] + 1; i < tensors_[tensor].size(); ++i) {
      const Candidate& other = tensors_[tensor][i];
      const double saved = now(tensor).loss - other.loss;
      if (saved <= most || !left_with(tensor, other, left_)) continue;
      most = saved;
      best_tensor = tensor;
      best = i;
    }
  }
  if (most > 0) take(best_tensor, best);
  return most > 0;
}

// Makes `tensor` smaller and another one larger where that saves more than it costs.
bool Chooser::exchange(std::size_t tensor) {
  double most = 0;
  std::array<std::size_t, 3> best{};  // the candidate; the other tensor, its candidate
  for (std::size_t down = 0; down < taken_[tensor]; ++down) {
    const Candidate& smaller = tensors_[tensor][down];
    const double cost = smaller.loss - now(tensor).loss;
    const Bytes left = left_ + now(tensor).bytes - smaller.bytes;
    for (std::size_t other = 0; other < tensors_.size(); ++other) {
      if (other == tensor) continue;
      for (std::size_t up = taken_[other] + 1; up < tensors_[other].size(); ++up) {
        const Candidate& larger = tensors_[other][up];
        const double saved = now(other).loss - larger.loss - cost;
        if (saved <= most || !left_with(other, larger, left)) continue;
        most = saved;
        best = {down, other, up};
      }
    }
  }
  if (most <= 0) return false;
  take(tensor, best[0]);
  take(best[1], best[2]);
  return true;
}

std::vector<std::size_t> Chooser::choose() {
  walk_hulls();
  for (int round = 0; round < kMostRounds; ++round) {
    while (spend_rest()) {
    }
    bool better = false;
    for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor)
      better = exchange(tensor) || better;
    if (!better) break;
  }
  while (spend_rest()) {
  }
  std::vector<std::size_t> chosen;
  for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor)
    chosen.push_back(now(tensor).option);
  return chosen;
}

}  // namespace

Bytes smallest_size(std::span<const TypeOptions> tensors) {
  Bytes sum = 0;
  for (const TypeOptions& options : tensors) {
    const Bytes least = std::ranges::min_element(options, {}, &TypeOption::bytes)->bytes;
    sum = checked_add(sum, least).value_or(UINT64_MAX);
  }
  return sum;
}

std::optional<std::vector<std::size_t>> choose_types(std::span<const TypeOptions> tensors,
                                                     Bytes budget) {
  if (smallest_size(tensors) > budget) return std::nullopt;
  return Chooser(tensors, budget).choose();
}

}  // namespace gogrid

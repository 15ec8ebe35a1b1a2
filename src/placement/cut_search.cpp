#include "placement/cut_search.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace gogrid {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();
// Steps of one pass over the table: about 10 ms. Beyond, cuts are thinned out.
constexpr std::size_t kMaxSteps = 3'000'000;
// Between plans that cost the same, the one with fewer stages.
constexpr double kStageMs = 1e-9;

// Every n-th of the cuts, so that one pass stays within kMaxSteps.
std::vector<std::uint32_t> thin_out(const std::vector<std::uint32_t>& cuts, std::size_t devices) {
  const std::size_t sets = (std::size_t{1} << devices) * devices;
  std::size_t step = 1;
  while (sets * (cuts.size() / step + 2) * (cuts.size() / step + 2) > kMaxSteps) ++step;
  std::vector<std::uint32_t> kept;
  for (std::size_t i = step - 1; i < cuts.size(); i += step) kept.push_back(cuts[i]);
  return kept;
}

}  // namespace

struct CutSearch::Cell {
  double cost = kImpossible;
  std::size_t from = 0;    // position the last stage begins at
  std::size_t device = 0;  // that it is on
};

CutSearch::CutSearch(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                     const PlanQuestion& question)
    : profile_(profile), devices_(devices), question_(question) {
  positions_ = thin_out(profile.allowed_cuts, devices.size());
  coarse_ = positions_.size() < profile.allowed_cuts.size();
  positions_.insert(positions_.begin(), 0);
  positions_.push_back(profile.n_layers);
  memory_.assign(positions_.size() * positions_.size(), 0);
  for (std::size_t from = 0; from + 1 < positions_.size(); ++from) {
    for (std::size_t to = from + 1; to < positions_.size(); ++to) {
      memory_[from * positions_.size() + to] =
          estimate_memory(profile, {.layers = {positions_[from], positions_[to]},
                                    .context = question.context,
                                    .parallel = question.parallel,
                                    .max_step_rows = question.max_step_rows,
                                    .flash_attention = question.flash_attention})
              .total();
    }
  }
}

Bytes CutSearch::memory_of(std::size_t from, std::size_t to) const {
  return memory_[from * positions_.size() + to];
}

// The cheapest way to place all layers, at most `devices_at_most` stages; `cost(device, from, to)`
// adds up over them. Cells are visited from small sets to large, so each is final when read; ties
// keep what was found first.
template <class Cost>
std::vector<PlacedRange> CutSearch::search(std::size_t devices_at_most, const Cost& cost,
                                           double& total) const {
  const std::size_t width = positions_.size();
  const std::size_t sets = std::size_t{1} << devices_.size();
  std::vector<Cell> table(sets * width);
  table[0].cost = 0;
  std::size_t best = 0;
  total = kImpossible;
  for (std::size_t set = 0; set < sets; ++set) {
    const Cell& done = table[set * width + width - 1];
    if (done.cost < total) {
      total = done.cost;
      best = set;
    }
    if (static_cast<std::size_t>(std::popcount(set)) >= devices_at_most) continue;
    for (std::size_t from = 0; from + 1 < width; ++from) {
      const double before = table[set * width + from].cost;
      if (before == kImpossible) continue;
      for (std::size_t device = 0; device < devices_.size(); ++device) {
        if ((set >> device & 1U) != 0) continue;
        Cell* row = &table[(set | std::size_t{1} << device) * width];
        for (std::size_t to = from + 1; to < width; ++to) {
          const double added = cost(device, from, to);
          if (added == kImpossible) break;  // more layers cost no less
          if (before + added < row[to].cost) row[to] = {before + added, from, device};
        }
      }
    }
  }
  std::vector<PlacedRange> stages;
  if (total == kImpossible) return stages;
  for (std::size_t at = width - 1; at != 0;) {
    const Cell& cell = table[best * width + at];
    stages.push_back({&devices_[cell.device], {positions_[cell.from], positions_[at]}});
    best &= ~(std::size_t{1} << cell.device);
    at = cell.from;
  }
  std::ranges::reverse(stages);
  return stages;
}

// All lengths a stage's step may have, in order.
std::vector<double> CutSearch::step_times(double rows) const {
  std::vector<double> times;
  for (const DeviceBudget& device : devices_) {
    for (std::uint32_t first = 0; first < profile_.n_layers; ++first) {
      // Not the last stage: as many layers, one earlier.
      const LayerRange last{first, profile_.n_layers};
      const LayerRange inner{0, profile_.n_layers - first - 1};
      times.push_back(step_ms({&device, last}, profile_.n_layers, rows));
      if (inner.size() != 0) times.push_back(step_ms({&device, inner}, profile_.n_layers, rows));
    }
  }
  std::ranges::sort(times);
  const auto repeated = std::ranges::unique(times);
  times.erase(repeated.begin(), repeated.end());
  return times;
}

// The rate is rows / max(longest step, whole way / groups). As the bound on the longest step grows,
// the shortest way under it only shrinks: the best plan lies where the two cross.
std::optional<std::vector<PlacedRange>> CutSearch::fastest(std::uint32_t groups) const {
  const double rows = static_cast<double>(question_.parallel) / groups;
  const std::vector<double> bounds = step_times(rows);
  struct Way {
    std::vector<PlacedRange> stages;
    double ms = kImpossible;
  };
  const auto shortest_under = [&](double bound) {
    Way way;
    way.stages = search(
        devices_.size(),
        [&](std::size_t device, std::size_t from, std::size_t to) {
          if (memory_of(from, to) > devices_[device].memory) return kImpossible;
          const double ms = step_ms({&devices_[device], {positions_[from], positions_[to]}},
                                    profile_.n_layers, rows);
          const double hop = from == 0 ? 0.0 : question_.hop_ms;
          return ms > bound ? kImpossible : ms + hop + kStageMs;
        },
        way.ms);
    return way;
  };
  const auto crossing = std::ranges::partition_point(
      bounds, [&](double bound) { return shortest_under(bound).ms / groups > bound; });
  Way best;
  double best_period = kImpossible;
  const auto consider = [&](auto bound) {
    Way way = shortest_under(*bound);
    const double period = std::max(*bound, way.ms / groups);
    if (way.ms == kImpossible || period >= best_period) return;
    best = std::move(way);
    best_period = period;
  };
  if (crossing != bounds.end()) consider(crossing);
  if (crossing != bounds.begin()) consider(std::prev(crossing));
  if (best.stages.empty()) return std::nullopt;
  return std::move(best.stages);
}

std::optional<std::vector<PlacedRange>> CutSearch::fastest_alone() const {
  std::optional<std::vector<PlacedRange>> best;
  double best_ms = kImpossible;
  const LayerRange all{0, profile_.n_layers};
  for (const DeviceBudget& device : devices_) {
    if (memory_of(0, positions_.size() - 1) > device.memory) continue;
    const double ms = step_ms({&device, all}, profile_.n_layers, question_.parallel);
    if (ms >= best_ms) continue;
    best_ms = ms;
    best = {PlacedRange{&device, all}};
  }
  return best;
}

Bytes CutSearch::shortfall() const {
  double total = kImpossible;
  search(
      devices_.size(),
      [&](std::size_t device, std::size_t from, std::size_t to) {
        const Bytes needed = memory_of(from, to);
        const Bytes held = devices_[device].memory;
        return needed > held ? static_cast<double>(needed - held) : 0.0;
      },
      total);
  return static_cast<Bytes>(total);
}

}  // namespace gogrid

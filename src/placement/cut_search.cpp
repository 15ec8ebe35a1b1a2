#include "placement/cut_search.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace gogrid {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();
// Steps of one pass over the table: about 10 ms. Beyond, cuts are thinned out.
constexpr std::size_t kMaxSteps = 3'000'000;
// Between plans that cost the same, the one with fewer stages.
constexpr double kStageMs = 1e-9;
// Between plans that lose the same, the one whose step is shorter.
constexpr double kLossPerMs = 1e-12;

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
  add_form(profile, nullptr, 0.0);
  choose_forms();
}

void CutSearch::add_form(const ModelProfile& profile, const SmallerLayers* as, double cost) {
  Form form{as, cost, std::vector<Bytes>(positions_.size() * positions_.size())};
  for (std::size_t from = 0; from + 1 < positions_.size(); ++from) {
    for (std::size_t to = from + 1; to < positions_.size(); ++to) {
      form.memory[from * positions_.size() + to] =
          estimate_memory(profile, {.layers = {positions_[from], positions_[to]},
                                    .context = question_.context,
                                    .parallel = question_.parallel,
                                    .max_step_rows = question_.max_step_rows,
                                    .flash_attention = question_.flash_attention})
              .total();
    }
  }
  forms_.push_back(std::move(form));
}

// What is forced costs nothing: it was asked for.
void CutSearch::choose_forms() {
  std::vector<std::size_t> allowed{0};
  choices_.assign(devices_.size(), allowed);
  if (question_.smaller == nullptr) return;
  for (const SmallerLayers& layers : *question_.smaller) {
    if (!question_.quantize.allow || !layers.cost) continue;
    add_form(layers.profile, &layers, *layers.cost);
    allowed.push_back(forms_.size() - 1);
  }
  for (std::size_t device = 0; device < devices_.size(); ++device) {
    choices_[device] = allowed;
    const auto forced = question_.quantize.forced.find(devices_[device].id);
    if (forced == question_.quantize.forced.end()) continue;
    const auto layers =
        std::ranges::find(*question_.smaller, forced->second.type,
                          [](const SmallerLayers& smaller) { return smaller.type.type; });
    choices_[device] = {0};  // unless it makes them smaller
    if (layers == question_.smaller->end()) continue;
    add_form(layers->profile, &*layers, 0.0);
    choices_[device] = {forms_.size() - 1};
  }
}

// Of the weights that a stage computes with.
double CutSearch::share_of(std::size_t from, std::size_t to) const {
  double part = 0.0;
  double all = static_cast<double>(profile_.head_bytes);
  for (std::uint32_t layer = 0; layer < profile_.n_layers; ++layer) {
    const auto bytes = static_cast<double>(profile_.layer_weights[layer]);
    all += bytes;
    if (layer >= positions_[from] && layer < positions_[to]) part += bytes;
  }
  if (to + 1 == positions_.size()) part += static_cast<double>(profile_.head_bytes);
  return all > 0 ? part / all : 0.0;
}

Bytes CutSearch::memory_of(const Form& form, std::size_t from, std::size_t to) const {
  return form.memory[from * positions_.size() + to];
}

const CutSearch::Form* CutSearch::form_for(std::size_t device, std::size_t from,
                                           std::size_t to) const {
  const Form* best = nullptr;
  for (const std::size_t choice : choices_[device]) {
    const Form& form = forms_[choice];
    if (memory_of(form, from, to) > devices_[device].memory) continue;
    if (best == nullptr || form.cost < best->cost) best = &form;
  }
  return best;
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
    const Form* form = form_for(cell.device, cell.from, at);
    stages.push_back({&devices_[cell.device],
                      {positions_[cell.from], positions_[at]},
                      form == nullptr ? nullptr : form->as});
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
          if (memory_of(plain_form(device), from, to) > devices_[device].memory) return kImpossible;
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
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const DeviceBudget& device = devices_[i];
    const Form& form = plain_form(i);
    if (memory_of(form, 0, positions_.size() - 1) > device.memory) continue;
    const double ms = step_ms({&device, all}, profile_.n_layers, question_.parallel);
    if (ms >= best_ms) continue;
    best_ms = ms;
    best = {PlacedRange{&device, all, form.as}};
  }
  return best;
}

std::optional<std::vector<PlacedRange>> CutSearch::least_loss() const {
  std::vector<double> shares(positions_.size() * positions_.size());
  for (std::size_t from = 0; from + 1 < positions_.size(); ++from) {
    for (std::size_t to = from + 1; to < positions_.size(); ++to) {
      shares[from * positions_.size() + to] = share_of(from, to);
    }
  }
  double total = 0;
  auto stages = search(
      devices_.size(),
      [&](std::size_t device, std::size_t from, std::size_t to) {
        const Form* form = form_for(device, from, to);
        if (form == nullptr) return kImpossible;
        const double ms = step_ms({&devices_[device], {positions_[from], positions_[to]}},
                                  profile_.n_layers, question_.parallel);
        const double hop = from == 0 ? 0.0 : question_.hop_ms;
        return form->cost * shares[from * positions_.size() + to] + kLossPerMs * (ms + hop);
      },
      total);
  if (stages.empty()) return std::nullopt;
  return stages;
}

Bytes CutSearch::shortfall() const {
  double total = kImpossible;
  search(
      devices_.size(),
      [&](std::size_t device, std::size_t from, std::size_t to) {
        Bytes needed = UINT64_MAX;
        for (const std::size_t choice : choices_[device]) {
          needed = std::min(needed, memory_of(forms_[choice], from, to));
        }
        const Bytes held = devices_[device].memory;
        return needed > held ? static_cast<double>(needed - held) : 0.0;
      },
      total);
  return static_cast<Bytes>(total);
}

}  // namespace gogrid

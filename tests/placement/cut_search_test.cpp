// The search against trying everything.
#include "placement/cut_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

namespace gogrid {
namespace {

struct Problem {
  ModelProfile profile;
  std::vector<DeviceBudget> devices;
  PlanQuestion question;
};

Problem random_problem(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto pick = [&](std::uint32_t least, std::uint32_t most) {
    return least + static_cast<std::uint32_t>(random() % (most - least + 1));
  };
  Problem problem;
  ModelProfile& profile = problem.profile;
  profile.n_layers = pick(2, 9);
  profile.n_embd = 8;
  profile.n_vocab = 64;
  const std::uint32_t period = pick(1, 3);
  for (std::uint32_t i = 0; i < profile.n_layers; ++i) {
    profile.layer_weights.push_back(pick(1, 4) * kMiB);
    profile.kv_bytes_per_token.push_back(pick(0, 2) * 1024);
    if (i != 0 && i % period == 0) profile.allowed_cuts.push_back(i);
  }
  profile.token_embedding_bytes = profile.head_bytes = pick(1, 4) * kMiB;
  problem.question = {.model = "toy",
                      .context = 256,
                      .parallel = pick(1, 6),
                      .max_step_rows = 8,
                      .hop_ms = pick(0, 2) * 0.3};
  const std::uint32_t n_devices = pick(1, 4);
  for (std::uint32_t i = 0; i < n_devices; ++i) {
    // Few different speeds, so that ties are common.
    problem.devices.push_back({.id = std::string(1, static_cast<char>('a' + i)),
                               .memory = pick(4, 60) * kMiB,
                               .call_ms = pick(0, 2) * 0.25,
                               .layer_read_ms = pick(0, 3) * 0.5,
                               .layer_row_ms = pick(1, 4) * 0.25,
                               .head_read_ms = pick(0, 2) * 0.5,
                               .head_row_ms = pick(0, 4) * 0.25,
                               .prefill_row_ms = 0.1});
  }
  return problem;
}

bool fits(const Problem& problem, const PlacedRange& stage) {
  const PlanQuestion& asked = problem.question;
  return estimate_memory(problem.profile, {.layers = stage.layers,
                                           .context = asked.context,
                                           .parallel = asked.parallel,
                                           .max_step_rows = asked.max_step_rows,
                                           .flash_attention = asked.flash_attention})
             .total() <= stage.device->memory;
}

// Every way to place layers from `first` on devices that are not used yet.
void try_everything(const Problem& problem, std::uint32_t groups, std::uint32_t first,
                    std::vector<PlacedRange>& stages, double& best) {
  const std::uint32_t end = problem.profile.n_layers;
  if (first == end) {
    best = std::max(best,
                    predict(stages, end, problem.question.parallel, groups, problem.question.hop_ms)
                        .decode_tokens_per_s);
    return;
  }
  std::vector<std::uint32_t> cuts = problem.profile.allowed_cuts;
  cuts.push_back(end);
  for (const DeviceBudget& device : problem.devices) {
    if (std::ranges::contains(stages, &device, &PlacedRange::device)) continue;
    for (const std::uint32_t last : cuts) {
      if (last <= first || !fits(problem, {&device, {first, last}})) continue;
      stages.push_back({&device, {first, last}});
      try_everything(problem, groups, last, stages, best);
      stages.pop_back();
    }
  }
}

double best_rate(const Problem& problem, std::uint32_t groups) {
  std::vector<PlacedRange> stages;
  double best = 0;
  try_everything(problem, groups, 0, stages, best);
  return best;
}

TEST(CutSearch, IsAsGoodAsTryingEverything) {
  int cut = 0;
  int impossible = 0;
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    const Problem problem = random_problem(seed);
    const CutSearch search(problem.profile, problem.devices, problem.question);
    for (std::uint32_t groups = 1; groups <= problem.question.parallel; ++groups) {
      const double expected = best_rate(problem, groups);
      const auto found = search.fastest(groups);
      ASSERT_EQ(found.has_value(), expected > 0) << "seed " << seed << " groups " << groups;
      EXPECT_EQ(search.fits(), expected > 0) << "seed " << seed;
      impossible += found ? 0 : 1;
      if (!found) continue;
      for (const PlacedRange& stage : *found) EXPECT_TRUE(fits(problem, stage));
      const double rate = predict(*found, problem.profile.n_layers, problem.question.parallel,
                                  groups, problem.question.hop_ms)
                              .decode_tokens_per_s;
      EXPECT_NEAR(rate, expected, expected * 1e-6) << "seed " << seed << " groups " << groups;
      cut += found->size() > 1 ? 1 : 0;
    }
  }
  // The cases are worth something only if they are of all kinds.
  EXPECT_GT(cut, 100);
  EXPECT_GT(impossible, 100);
}

// The model in halves and quarters, which cost one and ten.
std::shared_ptr<const std::vector<SmallerLayers>> halves_and_quarters(const ModelProfile& profile) {
  auto made = std::make_shared<std::vector<SmallerLayers>>();
  const auto add = [&](std::string_view name, std::uint32_t number, Bytes divisor, double cost) {
    SmallerLayers layers{.type = {name, number, 32}, .cost = cost, .profile = profile};
    for (Bytes& bytes : layers.profile.layer_weights) bytes /= divisor;
    layers.profile.head_bytes /= divisor;
    layers.profile.token_embedding_bytes /= divisor;
    made->push_back(std::move(layers));
  };
  add("half", 1, 2, 1.0);
  add("quarter", 2, 4, 10.0);
  return made;
}

// Of the weights that a stage computes with.
double share_of(const ModelProfile& profile, LayerRange layers) {
  auto whole = static_cast<double>(profile.head_bytes);
  double part = layers.last == profile.n_layers ? whole : 0.0;
  for (std::uint32_t i = 0; i < profile.n_layers; ++i) {
    whole += static_cast<double>(profile.layer_weights[i]);
    if (i >= layers.first && i < layers.last) part += static_cast<double>(profile.layer_weights[i]);
  }
  return part / whole;
}

bool fits_as(const Problem& problem, const PlacedRange& stage) {
  Problem other{stage.as == nullptr ? problem.profile : stage.as->profile, {}, problem.question};
  return fits(other, stage);
}

double least_loss_by_trying(const Problem& problem, std::uint32_t first,
                            std::vector<const DeviceBudget*> used) {
  if (first == problem.profile.n_layers) return 0;
  std::vector<std::uint32_t> ends = problem.profile.allowed_cuts;
  ends.push_back(problem.profile.n_layers);
  double best = std::numeric_limits<double>::infinity();
  for (const DeviceBudget& device : problem.devices) {
    if (std::ranges::contains(used, &device)) continue;
    used.push_back(&device);
    for (const std::uint32_t last : ends) {
      if (last <= first) continue;
      std::vector<const SmallerLayers*> forms{nullptr};
      for (const SmallerLayers& layers : *problem.question.smaller) forms.push_back(&layers);
      for (const SmallerLayers* as : forms) {
        if (!fits_as(problem, {&device, {first, last}, as})) continue;
        const double cost = as == nullptr ? 0.0 : *as->cost;
        best = std::min(best, cost * share_of(problem.profile, {first, last}) +
                                  least_loss_by_trying(problem, last, used));
      }
    }
    used.pop_back();
  }
  return best;
}

TEST(CutSearch, LosesNoMoreThanTryingEverything) {
  int as_it_is = 0;
  int smaller = 0;
  int impossible = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    Problem problem = random_problem(seed);
    for (DeviceBudget& device : problem.devices) device.memory /= 2;
    problem.profile.n_layers = std::min(problem.profile.n_layers, 6U);
    problem.profile.layer_weights.resize(problem.profile.n_layers);
    problem.profile.kv_bytes_per_token.resize(problem.profile.n_layers);
    std::erase_if(problem.profile.allowed_cuts,
                  [&](std::uint32_t cut) { return cut >= problem.profile.n_layers; });
    problem.question.quantize.allow = true;
    problem.question.smaller = halves_and_quarters(problem.profile);
    const CutSearch search(problem.profile, problem.devices, problem.question);
    const double expected = least_loss_by_trying(problem, 0, {});
    const auto found = search.least_loss();
    ASSERT_EQ(found.has_value(), std::isfinite(expected)) << "seed " << seed;
    EXPECT_EQ(search.fits(), found.has_value()) << "seed " << seed;
    if (!found) {
      ++impossible;
      continue;
    }
    double loss = 0;
    for (const PlacedRange& stage : *found) {
      EXPECT_TRUE(fits_as(problem, stage)) << "seed " << seed;
      if (stage.as != nullptr) loss += *stage.as->cost * share_of(problem.profile, stage.layers);
    }
    EXPECT_NEAR(loss, expected, 1e-9) << "seed " << seed;
    ++(loss > 0 ? smaller : as_it_is);
  }
  EXPECT_GT(as_it_is, 30);
  EXPECT_GT(smaller, 30);
  EXPECT_GT(impossible, 20);
}

TEST(CutSearch, TellsHowMuchMemoryIsMissing) {
  int short_ones = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    Problem problem = random_problem(seed);
    problem.devices.resize(1);
    const CutSearch search(problem.profile, problem.devices, problem.question);
    const Bytes missing = search.shortfall();
    if (missing == 0) continue;
    ++short_ones;
    problem.devices[0].memory += missing - 1;
    EXPECT_FALSE(CutSearch(problem.profile, problem.devices, problem.question).fits());
    problem.devices[0].memory += 1;
    EXPECT_TRUE(CutSearch(problem.profile, problem.devices, problem.question).fits());
  }
  EXPECT_GT(short_ones, 20);
}

TEST(CutSearch, ThinsOutCutsOfManyDevicesAndSaysSo) {
  ModelProfile profile;
  profile.n_layers = 120;
  profile.n_embd = 8;
  profile.n_vocab = 64;
  profile.layer_weights.assign(120, kMiB);
  profile.kv_bytes_per_token.assign(120, 1);
  for (std::uint32_t cut = 1; cut < 120; ++cut) profile.allowed_cuts.push_back(cut);
  std::vector<DeviceBudget> devices;
  for (int i = 0; i < 8; ++i) {
    devices.push_back({.id = std::to_string(i), .memory = 100 * kMiB, .layer_row_ms = 1.0 + i});
  }
  const PlanQuestion question{.model = "toy", .parallel = 16};
  const CutSearch search(profile, devices, question);
  EXPECT_TRUE(search.coarse());
  const auto stages = search.fastest(8);
  ASSERT_TRUE(stages);
  EXPECT_EQ(stages->back().layers.last, 120U);
  EXPECT_FALSE(CutSearch(profile, std::span(devices).first(2), question).coarse());
}

}  // namespace
}  // namespace gogrid

#include "batching/batch_planner.h"

#include <algorithm>
#include <tuple>

namespace gogrid {
namespace {

constexpr std::uint32_t kJustBegun = 8;  // tokens

constexpr std::int32_t kAll = std::numeric_limits<std::int32_t>::max();

using Indices = std::vector<std::size_t>;

// The group's ready sequences, who was served longest ago first, no more than may be in a step.
Indices candidates(std::span<const SequenceView> sequences, const BatchLimits& limits,
                   std::uint32_t group) {
  Indices chosen;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].ready() && group_of(sequences[i].slot, limits) == group) chosen.push_back(i);
  }
  std::ranges::sort(chosen, {}, [&](std::size_t i) {
    return std::tuple(sequences[i].last_step, sequences[i].arrival);
  });
  if (limits.max_batch > 0 && chosen.size() > limits.max_batch) chosen.resize(limits.max_batch);
  return chosen;
}

bool anyone_decodes(std::span<const SequenceView> sequences) {
  return std::ranges::any_of(sequences,
                             [](const SequenceView& s) { return s.decodes() && !s.held; });
}

// Hands out the rows of one step.
class RowBudget {
 public:
  RowBudget(std::span<const SequenceView> sequences, std::uint32_t rows)
      : sequences_(sequences), room_(static_cast<std::int32_t>(rows)), left_(room_) {}

  std::int32_t left() const { return left_; }
  void shrink_to(std::int32_t rows) { left_ = std::min(left_, rows); }

  // As many rows of the sequence as fit.
  std::int32_t give(std::size_t sequence, std::int32_t most = kAll) {
    const std::int32_t count = std::min({wanted(sequence), left_, most});
    if (count <= 0) return 0;
    left_ -= count;
    room_ -= count;
    plan_.rows.push_back(
        {sequence, sequences_[sequence].computed, count, count == wanted(sequence)});
    return count;
  }

  // The same, but where little is left it begins with a tile or not in this step.
  void give_in_tiles(std::size_t sequence, std::int32_t tile) {
    if (left_ < tile && !plan_.rows.empty()) {
      if (wanted(sequence) > left_ && 2 * left_ < tile) return;
      left_ = std::min(tile, room_);
    }
    give(sequence);
  }

  StepPlan finish() {
    std::ranges::sort(plan_.rows, {},
                      [&](const PlannedRows& rows) { return sequences_[rows.sequence].slot; });
    return std::move(plan_);
  }

 private:
  std::int32_t wanted(std::size_t sequence) const {
    return sequences_[sequence].known - sequences_[sequence].computed;
  }

  const std::span<const SequenceView> sequences_;
  std::int32_t room_;  // in the step
  std::int32_t left_;  // of that, to be handed out now
  StepPlan plan_;
};

struct Prefill {
  std::int32_t tile = 0;
  std::int32_t rest = 0;          // rows in the step of prompts with less than a tile left
  std::int32_t short_prompt = 0;  // so little left need not wait for the older ones
};

void plan_prefill(std::span<const SequenceView> sequences, Indices prefill, const Prefill& limits,
                  RowBudget& budget) {
  std::ranges::sort(prefill, {}, [&](std::size_t i) { return sequences[i].arrival; });
  const std::int32_t half = budget.left() / 2;
  const std::int32_t all = budget.left();
  std::int32_t rest = limits.rest;
  const auto remaining = [&](std::size_t i) { return sequences[i].known - sequences[i].computed; };
  const auto give = [&](std::size_t i) {
    if (remaining(i) < limits.tile) {
      rest -= budget.give(i, rest);
    } else {
      budget.give_in_tiles(i, std::min(limits.tile, all));
    }
  };
  Indices long_ones;
  for (const std::size_t i : prefill) {
    const bool fits =
        remaining(i) <= limits.short_prompt && all - budget.left() + remaining(i) <= half;
    fits ? give(i) : long_ones.push_back(i);
  }
  for (const std::size_t i : long_ones) give(i);
}

}  // namespace

std::uint32_t group_of(SlotId slot, const BatchLimits& limits) {
  const auto wide = static_cast<std::uint64_t>(slot) * limits.groups / limits.parallel;
  return static_cast<std::uint32_t>(wide);
}

std::optional<std::uint32_t> next_group(std::span<const SequenceView> sequences,
                                        const BatchLimits& limits, std::uint32_t last) {
  std::vector<bool> ready(limits.groups, false);
  std::vector<bool> busy(limits.groups, false);
  for (const SequenceView& view : sequences) {
    const std::uint32_t group = group_of(view.slot, limits);
    if (view.in_flight) busy[group] = true;
    if (view.ready()) ready[group] = true;
  }
  std::optional<std::uint32_t> behind_a_step;
  for (std::uint32_t i = 1; i <= limits.groups; ++i) {
    const std::uint32_t group = (last + i) % limits.groups;
    if (!ready[group]) continue;
    if (!busy[group]) return group;
    if (!behind_a_step) behind_a_step = group;
  }
  return behind_a_step;
}

bool only_beginners_wait(std::span<const SequenceView> sequences) {
  return std::ranges::all_of(sequences, [](const SequenceView& s) {
    return !s.decodes() || s.held || s.generated <= kJustBegun;
  });
}

StepPlan plan_step(std::span<const SequenceView> sequences, const BatchLimits& limits,
                   std::uint32_t group) {
  const Indices chosen = candidates(sequences, limits, group);
  Indices prefill;
  RowBudget budget(sequences, std::min(limits.max_step_rows, limits.free_cells));
  const auto decodes = [&](std::size_t i) { return sequences[i].decodes(); };
  const bool all_decode = std::ranges::all_of(chosen, decodes);
  for (const std::size_t i : chosen) {
    const bool last_row_for_prefill = !all_decode && budget.left() == 1;
    if (!decodes(i)) {
      prefill.push_back(i);
    } else if (!last_row_for_prefill) {
      budget.give(i);
    }
  }
  const bool others_wait = anyone_decodes(sequences);
  const std::uint32_t chunk =
      others_wait ? std::min(limits.prefill_chunk, limits.paced_chunk) : limits.prefill_chunk;
  if (limits.groups > 1 || others_wait) budget.shrink_to(static_cast<std::int32_t>(chunk));
  const std::uint32_t rest = others_wait ? limits.paced_rest : kAll;
  plan_prefill(sequences, std::move(prefill),
               {.tile = static_cast<std::int32_t>(limits.tile),
                .rest = static_cast<std::int32_t>(std::min<std::uint32_t>(rest, kAll)),
                .short_prompt = static_cast<std::int32_t>(chunk / 4)},
               budget);
  return budget.finish();
}

}  // namespace gogrid

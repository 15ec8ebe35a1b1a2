#include "stage/step_split.h"

#include <algorithm>
#include <map>

namespace gogrid {
namespace {

using Call = std::vector<std::uint32_t>;

// A slot's rows that are not yet in a call.
struct Queue {
  SlotId slot = 0;
  std::vector<std::uint32_t> rows;
  std::size_t next = 0;
  std::size_t left() const { return rows.size() - next; }
};

std::vector<Queue> by_slot(std::span<const StepRow> rows) {
  std::map<SlotId, std::vector<std::uint32_t>> slots;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    slots[rows[i].slot].push_back(static_cast<std::uint32_t>(i));
  }
  std::vector<Queue> queues;
  for (auto& [slot, indices] : slots) queues.push_back({slot, std::move(indices), 0});
  return queues;
}

// The first run of consecutive slots that still have rows.
std::span<Queue> next_run(std::span<Queue> queues, std::size_t max_rows) {
  const auto first = std::ranges::find_if(queues, [](const Queue& q) { return q.left() > 0; });
  auto last = first;
  while (last != queues.end() && last->left() > 0 &&
         last->slot - first->slot == static_cast<SlotId>(last - first) &&
         static_cast<std::size_t>(last - first) < max_rows) {
    ++last;
  }
  return {first, last};
}

// As many rows of each slot of the run as the shortest has and the limits allow.
Call take(std::span<Queue> run, std::span<const StepRow> rows, const SplitLimits& limits) {
  std::size_t depth = std::max<std::size_t>(1, limits.max_rows / run.size());
  for (const Queue& queue : run) depth = std::min(depth, queue.left());
  std::size_t outputs = 0;
  std::size_t allowed = 0;
  while (allowed < depth) {  // one more row of each, while its outputs still have room
    std::size_t more = 0;
    for (const Queue& queue : run) {
      more += rows[queue.rows[queue.next + allowed]].wants_output ? 1 : 0;
    }
    if (allowed > 0 && outputs + more > limits.max_outputs) break;
    outputs += more;
    ++allowed;
  }
  Call call;
  for (Queue& queue : run) {
    for (std::size_t i = 0; i < allowed; ++i) call.push_back(queue.rows[queue.next++]);
  }
  return call;
}

std::vector<Call> split_equal(std::span<const StepRow> rows, const SplitLimits& limits) {
  // A run no longer than the outputs' room: then one row of each always fits.
  const std::size_t longest = std::min(limits.max_rows, limits.max_outputs);
  std::vector<Queue> queues = by_slot(rows);
  std::vector<Call> calls;
  for (auto run = next_run(queues, longest); !run.empty(); run = next_run(queues, longest)) {
    calls.push_back(take(run, rows, limits));
  }
  return calls;
}

std::vector<Call> split_in_order(std::span<const StepRow> rows, const SplitLimits& limits) {
  std::vector<Call> calls;
  std::size_t outputs = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t more = rows[i].wants_output ? 1 : 0;
    if (calls.empty() || calls.back().size() == limits.max_rows ||
        outputs + more > limits.max_outputs) {
      calls.emplace_back();
      outputs = 0;
    }
    outputs += more;
    calls.back().push_back(static_cast<std::uint32_t>(i));
  }
  return calls;
}

}  // namespace

std::vector<std::vector<std::uint32_t>> split_step(std::span<const StepRow> rows,
                                                   const SplitLimits& limits) {
  return limits.equal_rows ? split_equal(rows, limits) : split_in_order(rows, limits);
}

}  // namespace gogrid

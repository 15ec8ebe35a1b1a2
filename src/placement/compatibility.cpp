#include "placement/compatibility.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/format.h"
#include "placement/cut_search.h"
#include "placement/fit_search.h"

namespace gogrid {
namespace {

using DeviceSet = std::vector<CheckedDevice>;

// KV cells are counted in 32 bits (libllama).
constexpr std::uint32_t kMaxCells = std::numeric_limits<std::int32_t>::max();
constexpr std::uint32_t kContextWhereUnknown = 4096;
// The estimate is within a tenth of what is taken: so much of a device's memory may be needed
// beyond it.
constexpr Bytes kErrorShare = 11;

std::vector<DeviceBudget> budgets_of(const DeviceSet& set) {
  std::vector<DeviceBudget> budgets;
  for (const CheckedDevice& device : set) budgets.push_back(device.budget);
  return budgets;
}

std::vector<DeviceBudget> budgets_now(const DeviceSet& set) {
  std::vector<DeviceBudget> budgets = budgets_of(set);
  for (std::size_t i = 0; i < set.size(); ++i) budgets[i].memory = set[i].memory_now;
  return budgets;
}

std::vector<DeviceBudget> budgets_with_room_for_error(std::span<const DeviceBudget> budgets) {
  std::vector<DeviceBudget> less(budgets.begin(), budgets.end());
  for (DeviceBudget& device : less) device.memory -= device.memory / kErrorShare;
  return less;
}

// As the planner: a renderer in software is a device only where there is no other.
DeviceSet worth_looking_at(std::span<const CheckedDevice> devices) {
  DeviceSet chosen;
  std::ranges::copy_if(devices, std::back_inserter(chosen),
                       [](const CheckedDevice& device) { return !device.budget.last_resort; });
  if (chosen.empty()) chosen.assign(devices.begin(), devices.end());
  return chosen;
}

// Those with most memory first, at most as many as a plan takes.
DeviceSet largest_of(DeviceSet devices) {
  std::ranges::stable_sort(devices, std::ranges::greater{},
                           [](const CheckedDevice& device) { return device.budget.memory; });
  devices.resize(std::min(devices.size(), CutSearch::kMaxDevices));
  return devices;
}

std::vector<DeviceSet> sets_of(const DeviceSet& devices, bool can_be_cut) {
  std::vector<DeviceSet> sets;
  for (const CheckedDevice& device : devices) sets.push_back({device});
  const DeviceSet whole = largest_of(devices);
  const std::size_t first = can_be_cut ? 2 : std::max<std::size_t>(whole.size(), 2);
  for (std::size_t size = first; size <= whole.size(); ++size) {
    sets.emplace_back(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
  }
  return sets;
}

class Judge {
 public:
  Judge(const ModelProfile& profile, const CompatibilityQuestion& question)
      : profile_(profile), question_(question) {}

  SetVerdict judge(const DeviceSet& set) const;

 private:
  Bytes alone() const;
  bool must_be_cut(std::span<const DeviceBudget> budgets) const;
  void tell_memory(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const;
  void tell_limits(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const;
  void tell_disk(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const;
  void tell_smaller_stages(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const;
  void tell_others(const DeviceSet& set, SetVerdict& verdict) const;
  void tell_speed(const DeviceSet& set, SetVerdict& verdict) const;

  const ModelProfile& profile_;
  const CompatibilityQuestion& question_;
};

// What one device takes that runs all of it.
Bytes Judge::alone() const {
  const PlanQuestion& plan = question_.plan;
  return estimate_memory(profile_, {.layers = {0, profile_.n_layers},
                                    .context = plan.context,
                                    .parallel = plan.parallel,
                                    .max_step_rows = plan.max_step_rows,
                                    .flash_attention = plan.flash_attention})
      .total();
}

bool Judge::must_be_cut(std::span<const DeviceBudget> budgets) const {
  return std::ranges::none_of(
      budgets, [need = alone()](const DeviceBudget& device) { return need <= device.memory; });
}

void Judge::tell_memory(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const {
  verdict.short_bytes = CutSearch(profile_, budgets, question_.plan).shortfall();
  verdict.fits = verdict.short_bytes == 0;
  std::string memory;
  for (const DeviceBudget& device : budgets) {
    memory +=
        format_text("{}{} {}", memory.empty() ? "" : ", ", device.id, format_bytes(device.memory));
  }
  verdict.why.push_back(
      format_text("{} with {} sequences of {} tokens takes {} on one device; may be used: {}",
                  question_.plan.model, question_.plan.parallel, question_.plan.context,
                  format_bytes(alone()), memory));
  if (verdict.fits && !fits(profile_, budgets_with_room_for_error(budgets), question_.plan)) {
    verdict.why.push_back(
        "close: what is to spare is less than the estimate may be wrong by (10 %): a load that "
        "takes more is undone");
  }
  if (!verdict.fits) {
    verdict.why.push_back(format_text("short by {} bytes ({})", verdict.short_bytes,
                                      format_bytes(verdict.short_bytes)));
  }
  if (profile_.allowed_cuts.empty()) {
    verdict.why.push_back("no place to cut: " + profile_.one_stage_why);
  } else if (verdict.fits && must_be_cut(budgets)) {
    verdict.why.push_back("none of them holds it alone: it is cut over several");
  }
}

void Judge::tell_limits(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const {
  const PlanQuestion& plan = question_.plan;
  const std::uint32_t trained =
      profile_.context_length == 0 ? kContextWhereUnknown : profile_.context_length;
  const std::uint32_t most_context =
      std::min(std::max(trained, plan.context), kMaxCells / plan.parallel);
  const std::uint32_t most_parallel =
      std::min(std::max(question_.most_parallel, plan.parallel), kMaxCells / plan.context);
  verdict.max_context = largest_context(profile_, budgets, plan, most_context);
  verdict.max_parallel = largest_parallel(profile_, budgets, plan, most_parallel);
  if (verdict.fits || verdict.max_context != 0 || verdict.max_parallel != 0) return;
  PlanQuestion one = plan;
  one.parallel = 1;
  const std::uint32_t context = largest_context(profile_, budgets, one, plan.context - 1);
  verdict.why.push_back(context != 0 ? format_text("one sequence of {} tokens fits", context)
                                     : "no context fits");
}

void Judge::tell_smaller_stages(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const {
  if (!verdict.fits || !question_.plan.quantize.allow) return;
  const auto plan = plan_stages(profile_, budgets, question_.plan);
  if (plan && has_smaller_stages(*plan))
    verdict.why.push_back("fits with smaller types only: " + smaller_stages_text(*plan));
}

// Stages of a cut model load slices of the file, which are written first.
void Judge::tell_disk(std::span<const DeviceBudget> budgets, SetVerdict& verdict) const {
  if (!verdict.fits || !question_.disk || !must_be_cut(budgets)) return;
  const Bytes need = profile_.file_bytes;
  if (need <= *question_.disk) return;
  verdict.fits = false;
  verdict.why.push_back(format_text("its slices take about {} of disk, {} may be used: short by {}",
                                    format_bytes(need), format_bytes(*question_.disk),
                                    format_bytes(need - *question_.disk)));
}

void Judge::tell_others(const DeviceSet& set, SetVerdict& verdict) const {
  if (!verdict.fits || fits(profile_, budgets_now(set), question_.plan)) return;
  std::string held;
  for (const CheckedDevice& device : set) {
    if (device.memory_now >= device.budget.memory) continue;
    held += format_text("{}{} of {}", held.empty() ? "" : ", ",
                        format_bytes(device.budget.memory - device.memory_now), device.budget.id);
  }
  verdict.why.push_back("not now: other models or programs hold " + held);
}

void Judge::tell_speed(const DeviceSet& set, SetVerdict& verdict) const {
  if (!verdict.fits) return;
  std::string unknown;
  for (const CheckedDevice& device : set) {
    if (!device.measured) unknown += (unknown.empty() ? "" : ", ") + device.budget.id;
  }
  if (!unknown.empty()) {
    verdict.why.push_back("speed unknown: not measured yet for this model: " + unknown +
                          " (gogrid plan measures)");
    return;
  }
  const std::vector<DeviceBudget> budgets = budgets_of(set);
  const auto plan = plan_stages(profile_, budgets, question_.plan);
  if (!plan) return verdict.why.push_back(plan.error().message);
  verdict.predicted = plan->predicted;
  verdict.why.insert(verdict.why.end(), plan->why.begin(), plan->why.end());
}

SetVerdict Judge::judge(const DeviceSet& set) const {
  SetVerdict verdict;
  const std::vector<DeviceBudget> budgets = budgets_of(set);
  for (const DeviceBudget& device : budgets) verdict.devices.push_back(device.id);
  tell_memory(budgets, verdict);
  tell_limits(budgets, verdict);
  tell_smaller_stages(budgets, verdict);
  tell_disk(budgets, verdict);
  tell_others(set, verdict);
  tell_speed(set, verdict);
  return verdict;
}

// The planner's own refusal, or that of the disk.
Error never_here(const ModelProfile& profile, const DeviceSet& devices,
                 const CompatibilityReport& report, const PlanQuestion& question) {
  const auto plan = plan_stages(profile, budgets_of(devices), question);
  if (!plan) return plan.error();
  return {ErrorCode::kDoesNotFit,
          "[compatibility] " + question.model + ": " + report.verdicts.back().why.back()};
}

}  // namespace

std::vector<FittingType> fitting_types(std::span<const QuantizedModel> smaller,
                                       std::span<const DeviceBudget> devices,
                                       const PlanQuestion& question) {
  PlanQuestion whole = question;  // smaller types of stages are another way
  whole.smaller = nullptr;
  std::vector<FittingType> types;
  for (const QuantizedModel& model : smaller) {
    if (!fits(model.profile, devices, whole)) continue;
    types.push_back({std::string(model.type), model.bytes, model.loss});
  }
  return types;
}

std::string would_fit_text(std::span<const FittingType> types) {
  if (types.empty()) return {};
  return format_text("; as {} ({}) it would fit", types.front().type,
                     format_bytes(types.front().bytes));
}

std::string smaller_stages_hint(const std::optional<Plan>& plan) {
  if (!plan) return {};
  return "; with --quantize-stages allow it would: " + smaller_stages_text(*plan);
}

CompatibilityReport check_compatibility(const ModelProfile& profile,
                                        std::span<const QuantizedModel> smaller,
                                        std::span<const CheckedDevice> devices,
                                        const CompatibilityQuestion& question) {
  CompatibilityReport report{.model = question.plan.model,
                             .context = question.plan.context,
                             .parallel = question.plan.parallel};
  const DeviceSet worth = worth_looking_at(devices);
  const Judge judge(profile, question);
  for (const DeviceSet& set : sets_of(worth, !profile.allowed_cuts.empty())) {
    report.verdicts.push_back(judge.judge(set));
  }
  if (std::ranges::any_of(report.verdicts, &SetVerdict::fits)) return report;
  const DeviceSet whole = largest_of(worth);
  report.would_fit = fitting_types(smaller, budgets_of(whole), question.plan);
  report.never = never_here(profile, whole, report, question.plan);
  const auto smaller_stages = plan_with_smaller_stages(profile, budgets_of(whole), question.plan);
  if (smaller_stages) {
    for (const PlannedStage& stage : smaller_stages->stages) {
      if (stage.type) report.smaller_stages.push_back({stage.device, stage.layers, *stage.type});
    }
  }
  report.never->message += would_fit_text(report.would_fit) + smaller_stages_hint(smaller_stages);
  return report;
}

}  // namespace gogrid

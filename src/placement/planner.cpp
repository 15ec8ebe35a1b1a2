#include "placement/planner.h"

#include <algorithm>
#include <map>

#include "base/format.h"
#include "base/nearest.h"
#include "placement/cost_model.h"
#include "placement/cut_search.h"
#include "placement/fit_search.h"

namespace gogrid {
namespace {

// A pipeline has to promise this much more than one device alone: it is more to go wrong, and one
// stream through it is slower.
constexpr double kWorthAPipeline = 1.03;

std::unexpected<Error> refuse(ErrorCode code, const std::string& what) {
  return fail(code, "[planner] " + what);
}

Status check_question(const PlanQuestion& question, std::span<const DeviceBudget> devices) {
  if (question.context == 0 || question.parallel == 0 || question.max_step_rows == 0) {
    return refuse(ErrorCode::kInvalidArgument,
                  "a context, a number of sequences and a step of at least one: 0");
  }
  if (devices.empty()) return refuse(ErrorCode::kInvalidArgument, "at least one device: none");
  return {};
}

// A plan before it is put into words.
struct Candidate {
  std::vector<PlacedRange> stages;
  std::uint32_t groups = 1;
  Prediction predicted;
};

// "cpu0 (5.6 GiB), vulkan0 (3.8 GiB)".
std::string memories_of(std::span<const DeviceBudget> devices) {
  std::string text;
  for (const DeviceBudget& device : devices) {
    text +=
        format_text("{}{} ({})", text.empty() ? "" : ", ", device.id, format_bytes(device.memory));
  }
  return text;
}

std::string describe(std::span<const PlacedRange> stages) {
  std::string text;
  for (const PlacedRange& stage : stages) {
    text += format_text("{}{} on {}", text.empty() ? "layers " : ", ", to_string(stage.layers),
                        stage.device->id);
    if (stage.as != nullptr) text += format_text(" as {}", stage.as->type.name);
  }
  return text;
}

StageMemory memory_of(const ModelProfile& profile, LayerRange layers, const PlanQuestion& question,
                      const SmallerLayers* as = nullptr) {
  return estimate_memory(as == nullptr ? profile : as->profile,
                         {.layers = layers,
                          .context = question.context,
                          .parallel = question.parallel,
                          .max_step_rows = question.max_step_rows,
                          .flash_attention = question.flash_attention});
}

// Of what it computes with.
Bytes weights_of(const ModelProfile& profile, LayerRange layers) {
  Bytes sum = layers.last == profile.n_layers ? profile.head_bytes : 0;
  for (std::uint32_t i = layers.first; i < layers.last; ++i) {
    sum = checked_add(sum, profile.layer_weights[i]).value_or(UINT64_MAX);
  }
  return sum;
}

double expected_loss(const ModelProfile& profile, const PlanQuestion& question,
                     std::span<const PlacedRange> stages) {
  const auto whole = static_cast<double>(weights_of(profile, {0, profile.n_layers}));
  double loss = 0.0;
  for (const PlacedRange& stage : stages) {
    if (stage.as == nullptr || question.quantize.forced.contains(stage.device->id)) continue;
    loss += stage.as->cost.value_or(0.0) * static_cast<double>(weights_of(profile, stage.layers)) /
            std::max(1.0, whole);
  }
  return loss;
}

Plan to_plan(const ModelProfile& profile, const PlanQuestion& question,
             const Candidate& candidate) {
  Plan plan;
  plan.model = question.model;
  plan.groups = candidate.groups;
  plan.context = question.context;
  plan.parallel = question.parallel;
  plan.predicted = candidate.predicted;
  const double rows = static_cast<double>(question.parallel) / candidate.groups;
  for (const PlacedRange& stage : candidate.stages) {
    PlannedStage planned{stage.device->id, stage.layers,
                         memory_of(profile, stage.layers, question, stage.as),
                         step_ms(stage, profile.n_layers, rows)};
    if (stage.as != nullptr) planned.type = stage.as->type;
    plan.stages.push_back(std::move(planned));
  }
  plan.expected_loss = expected_loss(profile, question, candidate.stages);
  return plan;
}

// The same stages with the most decode tokens/s of all numbers of groups; as fast with fewer is
// better.
Candidate with_best_groups(const ModelProfile& profile, const PlanQuestion& question,
                           const std::vector<PlacedRange>& stages) {
  Candidate best;
  const auto most = stages.size() == 1
                        ? 1U
                        : std::min<std::uint32_t>(question.parallel,
                                                  static_cast<std::uint32_t>(2 * stages.size()));
  for (std::uint32_t groups = 1; groups <= most; ++groups) {
    const Prediction predicted =
        predict(stages, profile.n_layers, question.parallel, groups, question.hop_ms);
    if (predicted.decode_tokens_per_s <= best.predicted.decode_tokens_per_s * (1 + 1e-9)) continue;
    best = {stages, groups, predicted};
  }
  return best;
}

// --- smaller types

// Stages whose type was asked for, and those that have one because it was allowed.
std::string asked_text(std::span<const PlacedRange> stages, const PlanQuestion& question,
                       bool forced) {
  std::vector<PlacedRange> chosen;
  for (const PlacedRange& stage : stages) {
    if (stage.as != nullptr && question.quantize.forced.contains(stage.device->id) == forced)
      chosen.push_back(stage);
  }
  return describe(chosen);
}

void add_reasons_for_types(std::span<const PlacedRange> stages, const PlanQuestion& question,
                           std::vector<std::string>& why) {
  if (const std::string forced = asked_text(stages, question, true); !forced.empty())
    why.push_back(forced + ": asked for (--quantize-stages)");
  for (const PlacedRange& stage : stages) {
    const auto forced = question.quantize.forced.find(stage.device->id);
    if (forced == question.quantize.forced.end() || stage.as != nullptr) continue;
    why.push_back(format_text("layers {} on {} stay as they are: {} would not make them smaller",
                              to_string(stage.layers), stage.device->id, forced->second.name));
  }
  if (std::ranges::any_of(stages, [](const PlacedRange& stage) { return stage.as != nullptr; }))
    why.emplace_back("speeds are predicted as with the model's own weights");
}

// --- what does not fit

std::string what_would_fit(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                           const PlanQuestion& question) {
  const std::uint32_t context = largest_context(profile, devices, question, question.context - 1);
  const std::uint32_t parallel =
      largest_parallel(profile, devices, question, question.parallel - 1);
  if (context != 0 && parallel != 0) {
    return format_text("a context of {} fits, or {} sequences", context, parallel);
  }
  if (context != 0) return format_text("a context of {} fits", context);
  if (parallel != 0) return format_text("{} sequences fit", parallel);
  PlanQuestion one = question;
  one.parallel = 1;
  const std::uint32_t alone = largest_context(profile, devices, one, question.context - 1);
  if (alone != 0) return format_text("one sequence of {} tokens fits", alone);
  return "no context fits";
}

std::unexpected<Error> does_not_fit(const ModelProfile& profile,
                                    std::span<const DeviceBudget> devices,
                                    const PlanQuestion& question, Bytes shortfall) {
  const std::string one_stage =
      profile.allowed_cuts.empty()
          ? format_text(" (it runs as one stage: {})", profile.one_stage_why)
          : std::string();
  const bool smallest = question.quantize.allow && question.smaller != nullptr;
  return refuse(ErrorCode::kDoesNotFit,
                format_text("{} with {} sequences of {} tokens within the memory of {}: short by "
                            "{} bytes ({}){}{}; {}",
                            question.model, question.parallel, question.context,
                            memories_of(devices), shortfall, format_bytes(shortfall),
                            smallest ? ", with the smallest types that stages may have" : "",
                            one_stage, what_would_fit(profile, devices, question)));
}

// --- the choice

// The devices worth looking at: not a renderer in software where there is anything better, and no
// more than the search can take, the fastest.
std::vector<DeviceBudget> eligible(std::span<const DeviceBudget> devices) {
  std::vector<DeviceBudget> chosen;
  std::ranges::copy_if(devices, std::back_inserter(chosen),
                       [](const DeviceBudget& device) { return !device.last_resort; });
  if (chosen.empty()) chosen.assign(devices.begin(), devices.end());
  if (chosen.size() > CutSearch::kMaxDevices) {
    std::ranges::stable_sort(chosen, {}, [](const DeviceBudget& device) {
      return device.layer_read_ms + device.layer_row_ms;
    });
    chosen.resize(CutSearch::kMaxDevices);
  }
  return chosen;
}

class Choice {
 public:
  Choice(const ModelProfile& profile, std::span<const DeviceBudget> devices,
         const PlanQuestion& question)
      : profile_(profile),
        devices_(devices),
        question_(question),
        search_(profile, devices, question) {}

  Result<Plan> make();
  // With smaller types where they are allowed; `shortfall`: without them.
  Result<Plan> make_smaller(Bytes shortfall) const;
  Bytes shortfall() const { return search_.shortfall(); }

 private:
  Candidate candidate(std::vector<PlacedRange> stages, std::uint32_t groups) const {
    const Prediction predicted =
        predict(stages, profile_.n_layers, question_.parallel, groups, question_.hop_ms);
    return {std::move(stages), groups, predicted};
  }
  void look_for_pipelines();
  void look_for_one_device();
  std::vector<std::string> reasons(const Candidate& chosen) const;
  void add_reason_for_stages(const Candidate& chosen, std::vector<std::string>& why) const;
  void add_reason_for_groups(const Candidate& chosen, std::vector<std::string>& why) const;

  const ModelProfile& profile_;
  const std::span<const DeviceBudget> devices_;
  const PlanQuestion& question_;
  const CutSearch search_;
  std::optional<Candidate> alone_;
  std::optional<Candidate> pipeline_;  // two stages or more
};

void Choice::look_for_one_device() {
  if (auto stages = search_.fastest_alone()) alone_ = candidate(*std::move(stages), 1);
}

void Choice::look_for_pipelines() {
  const auto most =
      std::min<std::uint32_t>(question_.parallel, static_cast<std::uint32_t>(2 * devices_.size()));
  for (std::uint32_t groups = 1; groups <= most; ++groups) {
    auto stages = search_.fastest(groups);
    if (!stages || stages->size() < 2 || groups > 2 * stages->size()) continue;
    Candidate next = candidate(*std::move(stages), groups);
    // As good with fewer groups is better: fewer steps for the same tokens.
    const bool better = !pipeline_ || next.predicted.decode_tokens_per_s >
                                          pipeline_->predicted.decode_tokens_per_s * (1 + 1e-9);
    if (better) pipeline_ = std::move(next);
  }
}

Result<Plan> Choice::make() {
  look_for_one_device();
  if (!profile_.allowed_cuts.empty() && devices_.size() > 1) look_for_pipelines();
  if (!alone_ && !pipeline_) {
    return does_not_fit(profile_, devices_, question_, search_.shortfall());
  }
  const bool take_pipeline =
      pipeline_ && (!alone_ || pipeline_->predicted.decode_tokens_per_s >
                                   alone_->predicted.decode_tokens_per_s * kWorthAPipeline);
  const Candidate& chosen = take_pipeline ? *pipeline_ : *alone_;
  Plan plan = to_plan(profile_, question_, chosen);
  plan.why = reasons(chosen);
  return plan;
}

Result<Plan> Choice::make_smaller(Bytes shortfall) const {
  const auto stages = search_.least_loss();
  if (!stages) return does_not_fit(profile_, devices_, question_, search_.shortfall());
  const Candidate chosen = with_best_groups(profile_, question_, *stages);
  Plan plan = to_plan(profile_, question_, chosen);
  plan.why = {
      format_text("as it is it does not fit: short by {} bytes ({}); what loses least: {} "
                  "(--quantize-stages allow)",
                  shortfall, format_bytes(shortfall), asked_text(chosen.stages, question_, false))};
  add_reasons_for_types(chosen.stages, question_, plan.why);
  add_reason_for_groups(chosen, plan.why);
  if (search_.coarse()) plan.why.emplace_back("many devices: not every allowed cut was looked at");
  return plan;
}

void Choice::add_reason_for_stages(const Candidate& chosen, std::vector<std::string>& why) const {
  const double rate = chosen.predicted.decode_tokens_per_s;
  if (chosen.stages.size() == 1) {
    why.push_back(
        pipeline_
            ? format_text("one stage on {}: {:.1f} tokens/s; the best of several "
                          "stages ({}): {:.1f}",
                          chosen.stages[0].device->id, rate, describe(pipeline_->stages),
                          pipeline_->predicted.decode_tokens_per_s)
            : format_text("one stage on {}: {:.1f} tokens/s", chosen.stages[0].device->id, rate));
    return;
  }
  if (alone_) {
    why.push_back(format_text("{}: {:.1f} tokens/s; one stage on {}: {:.1f}",
                              describe(chosen.stages), rate, alone_->stages[0].device->id,
                              alone_->predicted.decode_tokens_per_s));
    return;
  }
  const auto& largest =
      *std::ranges::max_element(devices_, {}, [](const DeviceBudget& d) { return d.memory; });
  why.push_back(
      format_text("no device holds it alone: it takes {}, {} has {}",
                  format_bytes(memory_of(profile_, {0, profile_.n_layers}, question_).total()),
                  largest.id, format_bytes(largest.memory)));
}

void Choice::add_reason_for_groups(const Candidate& chosen, std::vector<std::string>& why) const {
  if (chosen.stages.size() == 1) return;
  const double rows = static_cast<double>(question_.parallel) / chosen.groups;
  std::string times;
  for (const PlacedRange& stage : chosen.stages) {
    times += format_text("{}{:.2f}", times.empty() ? "" : " and ",
                         step_ms(stage, profile_.n_layers, rows));
  }
  why.push_back(format_text("{}: {} ms a step", describe(chosen.stages), times));
  if (chosen.groups == 1) {
    why.push_back(question_.parallel == 1 ? "one sequence is one group: stages wait for each other"
                                          : "one group: more would read the weights more often");
    return;
  }
  const Candidate one = candidate(chosen.stages, 1);
  why.push_back(format_text("{} groups in flight: {:.1f} tokens/s; one: {:.1f}", chosen.groups,
                            chosen.predicted.decode_tokens_per_s,
                            one.predicted.decode_tokens_per_s));
}

std::vector<std::string> Choice::reasons(const Candidate& chosen) const {
  std::vector<std::string> why;
  add_reason_for_stages(chosen, why);
  add_reasons_for_types(chosen.stages, question_, why);
  add_reason_for_groups(chosen, why);
  if (profile_.allowed_cuts.empty()) why.push_back("not cut: " + profile_.one_stage_why);
  if (search_.coarse()) why.push_back("many devices: not every allowed cut was looked at");
  return why;
}

// --- by hand

Result<const DeviceBudget*> find_device(std::span<const DeviceBudget> devices,
                                        const std::string& id) {
  const auto found = std::ranges::find(devices, id, &DeviceBudget::id);
  if (found != devices.end()) return &*found;
  std::vector<std::string> known;
  for (const DeviceBudget& device : devices) known.push_back(device.id);
  return fail(ErrorCode::kNotFound,
              "[planner] no such device: '" + id + "'" + suggestion(id, known), "split");
}

Status check_order(const ModelProfile& profile, std::span<const StageChoice> stages) {
  std::uint32_t next = 0;
  for (const StageChoice& stage : stages) {
    if (stage.layers.first != next) {
      return fail(
          ErrorCode::kInvalidArgument,
          format_text("[planner] stages that cover layers 0-{} in order: layers {} after {}",
                      profile.n_layers, to_string(stage.layers), next),
          "split");
    }
    GOGRID_RETURN_IF_ERROR(check_cut(profile, stage.layers));
    next = stage.layers.last;
  }
  if (next != profile.n_layers) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[planner] stages that cover layers 0-{}: they end at {}",
                            profile.n_layers, next),
                "split");
  }
  return {};
}

Status check_memory(const ModelProfile& profile, const PlanQuestion& question,
                    std::span<const PlacedRange> stages) {
  std::map<const DeviceBudget*, Bytes> taken;
  for (const PlacedRange& stage : stages) {
    Bytes& held = taken[stage.device];
    held = checked_add(held, memory_of(profile, stage.layers, question, stage.as).total())
               .value_or(UINT64_MAX);
    if (held <= stage.device->memory) continue;
    const Bytes shortfall = held - stage.device->memory;
    return refuse(
        ErrorCode::kDoesNotFit,
        format_text("{} layers {} on {} with {} sequences of {} tokens: short by {} "
                    "bytes ({})",
                    question.model, to_string(stage.layers), stage.device->id, question.parallel,
                    question.context, shortfall, format_bytes(shortfall)));
  }
  return {};
}

}  // namespace

PlanQuestion question_for(std::string_view model, const ModelProfile& profile,
                          std::optional<std::uint32_t> context,
                          std::optional<std::uint32_t> parallel) {
  PlanQuestion question;
  question.model = model;
  const std::uint32_t usual = question.context;
  const std::uint32_t trained = profile.context_length == 0 ? usual : profile.context_length;
  question.context = context.value_or(std::min(usual, trained));
  question.parallel = parallel.value_or(question.parallel);
  return question;
}

namespace {

Result<Plan> choose(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                    const PlanQuestion& question) {
  PlanQuestion plain = question;
  plain.quantize.allow = false;
  Choice own(profile, devices, plain);
  auto plan = own.make();
  const bool wants_memory = !plan && plan.error().code == ErrorCode::kDoesNotFit;
  if (!wants_memory || !question.quantize.allow || question.smaller == nullptr) return plan;
  return Choice(profile, devices, question).make_smaller(own.shortfall());
}

// The types of all stages on a device, which it has to hold together.
class TypesByHand {
 public:
  TypesByHand(const ModelProfile& profile, const PlanQuestion& question)
      : profile_(profile), question_(question) {}

  void choose(std::vector<PlacedRange>& stages) const {
    if (question_.smaller == nullptr) return;
    for (const PlacedRange& stage : std::vector(stages)) {
      const SmallerLayers* as = type_on(*stage.device, stages);
      for (PlacedRange& other : stages) {
        if (other.device == stage.device) other.as = as;
      }
    }
  }

 private:
  const SmallerLayers* type_on(const DeviceBudget& device,
                               std::span<const PlacedRange> stages) const {
    const auto forced = question_.quantize.forced.find(device.id);
    for (const SmallerLayers& layers : *question_.smaller) {
      if (forced != question_.quantize.forced.end() && layers.type.type == forced->second.type)
        return &layers;
    }
    if (forced != question_.quantize.forced.end() || !question_.quantize.allow) return nullptr;
    if (holds(device, stages, nullptr)) return nullptr;
    const auto fits = std::ranges::find_if(*question_.smaller, [&](const SmallerLayers& layers) {
      return layers.cost && holds(device, stages, &layers);
    });
    return fits == question_.smaller->end() ? nullptr : &*fits;
  }

  bool holds(const DeviceBudget& device, std::span<const PlacedRange> stages,
             const SmallerLayers* as) const {
    Bytes taken = 0;
    for (const PlacedRange& stage : stages) {
      if (stage.device != &device) continue;
      taken = checked_add(taken, memory_of(profile_, stage.layers, question_, as).total())
                  .value_or(UINT64_MAX);
    }
    return taken <= device.memory;
  }

  const ModelProfile& profile_;
  const PlanQuestion& question_;
};

}  // namespace

bool has_smaller_stages(const Plan& plan) {
  return std::ranges::any_of(plan.stages,
                             [](const PlannedStage& stage) { return stage.type.has_value(); });
}

std::string smaller_stages_text(const Plan& plan) {
  std::string text;
  for (const PlannedStage& stage : plan.stages) {
    if (!stage.type) continue;
    text += format_text("{}{} on {} as {}", text.empty() ? "layers " : ", ",
                        to_string(stage.layers), stage.device, stage.type->name);
  }
  return text;
}

Result<Plan> plan_stages(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                         const PlanQuestion& question) {
  GOGRID_RETURN_IF_ERROR(check_question(question, devices));
  const std::vector<DeviceBudget> chosen = eligible(devices);
  GOGRID_ASSIGN_OR_RETURN(Plan plan, choose(profile, chosen, question));
  for (const DeviceBudget& device : devices) {
    if (!std::ranges::contains(chosen, device.id, &DeviceBudget::id)) {
      plan.why.push_back(device.last_resort
                             ? device.id + " renders in software: used only when named"
                             : device.id + " was left out: slower than eight others");
    }
  }
  return plan;
}

Result<Plan> plan_by_hand(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                          const PlanQuestion& question, std::span<const StageChoice> stages) {
  GOGRID_RETURN_IF_ERROR(check_question(question, devices));
  GOGRID_RETURN_IF_ERROR(check_order(profile, stages));
  std::vector<PlacedRange> placed;
  for (const StageChoice& stage : stages) {
    GOGRID_ASSIGN_OR_RETURN(const DeviceBudget* device, find_device(devices, stage.device));
    placed.push_back({device, stage.layers});
  }
  TypesByHand(profile, question).choose(placed);
  GOGRID_RETURN_IF_ERROR(check_memory(profile, question, placed));
  Plan plan = to_plan(profile, question, with_best_groups(profile, question, placed));
  plan.why = {"stages were given: " + describe(placed)};
  if (const std::string allowed = asked_text(placed, question, false); !allowed.empty())
    plan.why.push_back(allowed + ": it does not fit as it is (--quantize-stages allow)");
  add_reasons_for_types(placed, question, plan.why);
  return plan;
}

std::optional<Plan> plan_with_smaller_stages(const ModelProfile& profile,
                                             std::span<const DeviceBudget> devices,
                                             const PlanQuestion& question) {
  if (question.quantize.allow) return std::nullopt;
  PlanQuestion allowed = question;
  allowed.quantize.allow = true;
  auto plan = plan_stages(profile, devices, allowed);
  if (!plan || !has_smaller_stages(*plan)) return std::nullopt;
  return *std::move(plan);
}

}  // namespace gogrid

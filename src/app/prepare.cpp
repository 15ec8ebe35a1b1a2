#include "app/prepare.h"

#include <algorithm>

#include "app/terminal.h"
#include "device/device_selection.h"
#include "engine/calibration.h"
#include "engine/device_room.h"
#include "model/gguf_file.h"
#include "model/gguf_slicer.h"
#include "model/model_profile.h"
#include "model/quantized_size.h"
#include "obs/log.h"
#include "placement/compatibility.h"
#include "placement/planner.h"
#include "resource/memory_caps.h"
#include "resource/policy_store.h"
#include "stage/stage_leases.h"

namespace gogrid {
namespace {

PlanQuestion question_of(const ModelSource& source, const ModelProfile& profile,
                         const PlacementOptions& placement) {
  PlanQuestion question = question_for(source.name, profile, placement.context, placement.parallel);
  question.flash_attention = !placement.deterministic;
  return question;
}

Result<Plan> plan_within(const PreparedModel& prepared, std::span<const DeviceBudget> budgets) {
  return prepared.split.empty()
             ? plan_stages(prepared.profile, budgets, prepared.question)
             : plan_by_hand(prepared.profile, budgets, prepared.question, prepared.split);
}

// The model's devices as they are now, those that are still here.
std::vector<Device> present(const PreparedModel& prepared, const DeviceRegistry& registry) {
  std::vector<Device> devices;
  for (const Device& device : prepared.devices) {
    if (auto found = registry.find(device.id)) devices.push_back(*std::move(found));
  }
  return devices;
}

// Of a plan that was refused for want of memory.
std::string what_would_fit(const PreparedModel& prepared, std::span<const DeviceBudget> budgets) {
  if (!prepared.split.empty()) return {};
  return would_fit_text(fitting_types(prepared.smaller, budgets, prepared.question));
}

// "; caps: cpu0 5.6 GiB (2.0 GiB held)".
std::string caps_text(const MemoryLedger& ledger) {
  std::string text;
  for (const DeviceMemory& memory : ledger.list()) {
    text += (text.empty() ? "; caps (max_device_memory): " : ", ") + memory.device + ' ' +
            format_bytes(memory.cap) + " (" + format_bytes(memory.held) + " held)";
  }
  return text;
}

std::vector<MemoryRequest> requests_of(const Plan& plan) {
  std::vector<StageNeed> needs;
  for (const PlannedStage& stage : plan.stages) needs.push_back({stage.device, stage.memory});
  return memory_requests(plan.model, needs);
}

// Says so: nothing answers yet that could be asked why.
void wait_for_pause(const Governor* governor, std::string_view model) {
  if (governor == nullptr || governor->runs()) return;
  complain("paused (" + governor->state().why + "): " + std::string(model) + " waits for its end");
  governor->wait({});
}

}  // namespace

MemoryLedger& process_wide_ledger() {
  static MemoryLedger* const ledger = std::make_unique<MemoryLedger>().release();
  return *ledger;
}

std::vector<Device> candidates(const DeviceRegistry& registry, const PlacementOptions& placement) {
  std::vector<Device> devices = registry.devices();
  if (placement.devices.empty() && placement.split.empty())
    std::erase_if(devices, [](const Device& device) { return is_software_renderer(device.name); });
  return devices;
}

Status set_caps_of_policy(const Workspace& workspace, const DeviceRegistry& registry) {
  GOGRID_ASSIGN_OR_RETURN(
      const auto policies,
      PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), workspace.policy_file()));
  set_caps(process_wide_ledger(), registry.devices(), *policies->current());
  return {};
}

Result<PreparedModel> measure_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model, const Governor* governor) {
  PreparedModel prepared;
  {
    ProgressLine line("reading " + std::string(model));
    const auto report = [show = line.bytes(), governor, &model](Bytes done, Bytes total) {
      wait_for_pause(governor, model);
      return show(done, total);
    };
    GOGRID_ASSIGN_OR_RETURN(prepared.source, workspace.find(model, report));
  }
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(prepared.source.path));
  GOGRID_ASSIGN_OR_RETURN(prepared.profile, read_profile(file));
  prepared.smaller = smaller_quantizations(file, prepared.profile);
  prepared.question = question_of(prepared.source, prepared.profile, placement);
  prepared.split = placement.split;
  prepared.devices = candidates(registry, placement);
  SliceCache slices(workspace.slices(), kSliceCapacity);
  ProgressLine line("measuring devices for " + prepared.source.name);
  line.show();
  const auto note = [&](std::string_view text) {
    prepared.notes.emplace_back(text);
    log::info("calibration", {{"model", prepared.source.name}, {"note", text}});
  };
  GOGRID_ASSIGN_OR_RETURN(
      prepared.budgets,
      calibrate(file, prepared.profile, prepared.source.digest, prepared.devices, factory, slices,
                workspace.measurements(), SteadyClock(), note, &process_wide_ledger(),
                [&] { wait_for_pause(governor, model); }));
  return prepared;
}

Result<Plan> plan_without_caps(const PreparedModel& prepared) {
  auto plan = plan_within(prepared, prepared.budgets);
  if (!plan && plan.error().code == ErrorCode::kDoesNotFit) {
    plan.error().message += what_would_fit(prepared, prepared.budgets);
  }
  return plan;
}

Result<Plan> plan_now(const PreparedModel& prepared, const DeviceRegistry& registry,
                      const MemoryLedger& ledger) {
  std::vector<DeviceBudget> now = prepared.budgets;
  std::vector<DeviceBudget> alone = prepared.budgets;
  const std::vector<DeviceRoom> rooms = room_of(present(prepared, registry), ledger);
  for (std::size_t i = 0; i < now.size(); ++i) {
    const auto room = std::ranges::find(rooms, now[i].id, &DeviceRoom::device);
    now[i].memory = room == rooms.end() ? 0 : room->now;
    alone[i].memory = room == rooms.end() ? 0 : room->alone;
  }
  auto plan = plan_within(prepared, now);
  if (plan || plan.error().code != ErrorCode::kDoesNotFit) return plan;
  auto plan_alone = plan_within(prepared, alone);
  if (!plan_alone) {
    plan_alone.error().message += caps_text(ledger) + what_would_fit(prepared, alone);
    return plan_alone;
  }
  GOGRID_RETURN_IF_ERROR(ledger.check(requests_of(*plan_alone)));
  // The ledger has room, but the devices have nothing free: others than GoGrid hold it.
  return fail(ErrorCode::kExhausted, plan.error().message);
}

Result<PreparedModel> prepare_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model) {
  GOGRID_RETURN_IF_ERROR(set_caps_of_policy(workspace, registry));
  GOGRID_ASSIGN_OR_RETURN(PreparedModel prepared,
                          measure_model(workspace, registry, factory, placement, model));
  GOGRID_ASSIGN_OR_RETURN(prepared.plan, plan_now(prepared, registry, process_wide_ledger()));
  return prepared;
}

TextEngineOptions engine_options(const Workspace& workspace, const PreparedModel& prepared,
                                 const PlacementOptions& placement, Metrics* metrics) {
  TextEngineOptions options;
  options.model = prepared.source.name;
  options.path = prepared.source.path;
  options.digest = prepared.source.digest;
  options.plan = prepared.plan;
  options.devices = prepared.devices;
  options.slice_folder = workspace.slices();
  options.slice_capacity = kSliceCapacity;
  options.deterministic = placement.deterministic;
  options.metrics = metrics;
  options.ledger = &process_wide_ledger();
  return options;
}

}  // namespace gogrid

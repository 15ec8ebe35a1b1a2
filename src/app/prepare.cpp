#include "app/prepare.h"

#include <algorithm>
#include <iterator>

#include "app/plan_loss.h"
#include "app/plan_now.h"
#include "app/policies.h"
#include "app/terminal.h"
#include "base/nearest.h"
#include "device/device_selection.h"
#include "engine/calibration.h"
#include "engine/device_room.h"
#include "model/gguf_file.h"
#include "model/gguf_slicer.h"
#include "model/model_profile.h"
#include "model/quantized_size.h"
#include "obs/log.h"
#include "resource/memory_caps.h"
#include "resource/policy_store.h"

namespace gogrid {
namespace {

PlanQuestion question_of(const ModelSource& source, const ModelProfile& profile,
                         const PlacementOptions& placement) {
  PlanQuestion question = question_for(source.name, profile, placement.context, placement.parallel);
  question.flash_attention = !placement.deterministic;
  question.quantize = quantization_of(placement);
  return question;
}

// Says so: nothing answers yet that could be asked why.
void wait_for_pause(const Governor* governor, std::string_view model) {
  if (governor == nullptr || governor->runs()) return;
  complain("paused (" + governor->state().why + "): " + std::string(model) + " waits for its end");
  governor->wait({});
}

// Adds to the model what is found out of `devices`.
Status measure(PreparedModel& prepared, const GgufFile& file, std::span<const Device> devices,
               const Workspace& workspace, StageFactory& factory, const BeforeWork& before_work) {
  SliceCache slices(workspace.slices(), kSliceCapacity);
  const auto note = [&](std::string_view text) {
    prepared.notes.emplace_back(text);
    log::info("calibration", {{"model", prepared.source.name}, {"note", text}});
  };
  GOGRID_ASSIGN_OR_RETURN(Measurements found,
                          calibrate(file, prepared.profile, prepared.source.digest, devices,
                                    factory, slices, workspace.measurements(), SteadyClock(), note,
                                    &process_wide_ledger(), before_work));
  std::ranges::move(found.budgets, std::back_inserter(prepared.budgets));
  prepared.unmeasured = std::move(found.unmeasured);
  return {};
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

StageQuantization quantization_of(const PlacementOptions& placement) {
  return placement.quantize.value_or(StageQuantization{});
}

Status check_forced_devices(const StageQuantization& quantize, std::span<const Device> devices) {
  for (const auto& [id, type] : quantize.forced) {
    if (std::ranges::contains(devices, id, &Device::id)) continue;
    std::vector<std::string> known;
    for (const Device& device : devices) known.push_back(device.id);
    return fail(ErrorCode::kNotFound,
                "--quantize-stages: no device '" + id + "' to plan on" + suggestion(id, known),
                "quantize-stages");
  }
  return {};
}

Status set_caps_of_policy(const Workspace& workspace, const DeviceRegistry& registry,
                          const PolicyOptions& options) {
  GOGRID_ASSIGN_OR_RETURN(const Config config, config_of(options));
  GOGRID_ASSIGN_OR_RETURN(const auto policies, open_policies(config, workspace));
  set_caps(process_wide_ledger(), registry.devices(), *policies->current());
  return {};
}

Result<PreparedModel> describe_model(const Workspace& workspace, const DeviceRegistry& registry,
                                     const PlacementOptions& placement, std::string_view model,
                                     const Governor* governor) {
  PreparedModel prepared;
  ProgressLine line("reading " + std::string(model));
  const auto report = [show = line.bytes(), governor, &model](Bytes done, Bytes total) {
    wait_for_pause(governor, model);
    return show(done, total);
  };
  GOGRID_ASSIGN_OR_RETURN(prepared.source, workspace.find_to_run(model, report));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(prepared.source.path));
  GOGRID_ASSIGN_OR_RETURN(prepared.profile, read_profile(file));
  if (prepared.source.adapter) {
    GOGRID_RETURN_IF_ERROR(add_adapter(prepared.profile, file, prepared.source.adapter->path));
  }
  prepared.smaller = smaller_quantizations(file, prepared.profile);
  prepared.question = question_of(prepared.source, prepared.profile, placement);
  prepared.question.smaller =
      std::make_shared<const std::vector<SmallerLayers>>(smaller_layers(file, prepared.profile));
  prepared.split = placement.split;
  prepared.devices = candidates(registry, placement);
  GOGRID_RETURN_IF_ERROR(check_forced_devices(prepared.question.quantize, prepared.devices));
  for (const Device& device : prepared.devices) {
    prepared.unmeasured.emplace(
        device.id, Error{ErrorCode::kExhausted, device.id + ": not measured yet", {}, {}});
  }
  return prepared;
}

Result<PreparedModel> measure_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model, const Governor* governor) {
  GOGRID_ASSIGN_OR_RETURN(PreparedModel prepared,
                          describe_model(workspace, registry, placement, model, governor));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(prepared.source.path));
  ProgressLine line("measuring devices for " + prepared.source.name);
  line.show();
  GOGRID_RETURN_IF_ERROR(measure(prepared, file, prepared.devices, workspace, factory, [&] {
    wait_for_pause(governor, model);
    return true;
  }));
  return prepared;
}

Status measure_the_rest(PreparedModel& prepared, const Workspace& workspace,
                        const DeviceRegistry& registry, StageFactory& factory,
                        const Governor* governor, const std::stop_token& stop) {
  std::vector<Device> devices;
  for (const auto& [id, why] : prepared.unmeasured) {
    if (auto device = registry.find(id)) devices.push_back(*std::move(device));
  }
  if (devices.empty()) return {};
  prepared.notes.clear();  // asked for again and again
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(prepared.source.path));
  const auto measured = measure(prepared, file, devices, workspace, factory,
                                [&] { return wait_to_run(governor, stop); });
  if (measured || measured.error().code == ErrorCode::kCancelled || prepared.budgets.empty())
    return measured;
  prepared.unmeasured.clear();  // they fail for another reason: left out, as at the start
  return {};
}

Result<PreparedModel> prepare_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model) {
  GOGRID_RETURN_IF_ERROR(set_caps_of_policy(workspace, registry));
  GOGRID_ASSIGN_OR_RETURN(PreparedModel prepared,
                          measure_model(workspace, registry, factory, placement, model));
  GOGRID_ASSIGN_OR_RETURN(prepared.plan, plan_now(prepared, registry, process_wide_ledger()));
  ProgressLine line("making stages of " + prepared.source.name + " smaller");
  GOGRID_RETURN_IF_ERROR(
      add_loss(prepared, workspace, factory, nullptr, [&](double share) { line.show(share); }, {}));
  return prepared;
}

TextEngineOptions engine_options(const Workspace& workspace, const PreparedModel& prepared,
                                 const PlacementOptions& placement, Metrics* metrics) {
  TextEngineOptions options;
  options.model = prepared.source.name;
  options.path = prepared.source.path;
  options.digest = prepared.source.digest;
  options.adapter = prepared.source.adapter;
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

#include "app/prepare.h"

#include <algorithm>

#include "app/terminal.h"
#include "device/device_selection.h"
#include "engine/calibration.h"
#include "model/gguf_file.h"
#include "model/gguf_slicer.h"
#include "model/model_profile.h"
#include "obs/log.h"
#include "placement/planner.h"

namespace gogrid {
namespace {

constexpr std::uint32_t kDefaultContext = 4096;
constexpr std::uint32_t kDefaultParallel = 4;
constexpr Bytes kSliceCapacity = 64 * kGiB;

PlanQuestion question_of(const ModelSource& source, const ModelProfile& profile,
                         const PlacementOptions& placement) {
  PlanQuestion question;
  question.model = source.name;
  const std::uint32_t trained =
      profile.context_length == 0 ? kDefaultContext : profile.context_length;
  question.context = placement.context.value_or(std::min(kDefaultContext, trained));
  question.parallel = placement.parallel.value_or(kDefaultParallel);
  question.flash_attention = !placement.deterministic;
  return question;
}

// A software renderer computes a thousand times slower than the cores it runs on: only when it was
// named.
std::vector<Device> candidates(const DeviceRegistry& registry, const PlacementOptions& placement) {
  std::vector<Device> devices = registry.devices();
  if (placement.devices.empty() && placement.split.empty())
    std::erase_if(devices, [](const Device& device) { return is_software_renderer(device.name); });
  return devices;
}

}  // namespace

Result<PreparedModel> prepare_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model) {
  PreparedModel prepared;
  {
    ProgressLine line("reading " + std::string(model));
    GOGRID_ASSIGN_OR_RETURN(prepared.source, workspace.find(model, line.bytes()));
  }
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(prepared.source.path));
  GOGRID_ASSIGN_OR_RETURN(const ModelProfile profile, read_profile(file));
  prepared.devices = candidates(registry, placement);
  SliceCache slices(workspace.slices(), kSliceCapacity);
  ProgressLine line("measuring devices for " + prepared.source.name);
  line.show();
  const auto note = [&](std::string_view text) {
    prepared.notes.emplace_back(text);
    log::info("calibration", {{"model", prepared.source.name}, {"note", text}});
  };
  GOGRID_ASSIGN_OR_RETURN(
      const auto budgets,
      calibrate(file, profile, prepared.source.digest, prepared.devices, factory, slices,
                workspace.measurements(), SteadyClock(), note));
  const PlanQuestion question = question_of(prepared.source, profile, placement);
  auto plan = placement.split.empty() ? plan_stages(profile, budgets, question)
                                      : plan_by_hand(profile, budgets, question, placement.split);
  if (!plan) return std::unexpected(std::move(plan).error());
  prepared.plan = *std::move(plan);
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
  return options;
}

}  // namespace gogrid

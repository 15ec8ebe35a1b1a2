#include "app/models_check.h"

#include <cstdio>
#include <optional>

#include "app/prepare.h"
#include "app/remote_source.h"
#include "base/format.h"
#include "http/compatibility_json.h"
#include "service/compatibility_service.h"

namespace gogrid {
namespace {

CompatibilityService make_service(const ModelSource& source, const Workspace& workspace,
                                  const DeviceRegistry& registry,
                                  const PlacementOptions& placement) {
  return CompatibilityService(
      {.find = [&source](std::string_view) -> Result<CheckedModel> {
         return CheckedModel{source.name, source.path, source.digest, source.adapter};
       },
       .devices = [&registry, &placement] { return candidates(registry, placement); },
       .ledger = &process_wide_ledger(),
       .measurements = workspace.measurements(),
       .slices = workspace.slices(),
       .slice_capacity = kSliceCapacity,
       .usual = {.context = placement.context, .parallel = placement.parallel},
       .deterministic = placement.deterministic,
       .quantize = quantization_of(placement)});
}

std::string names_of(const SetVerdict& verdict) {
  std::string names;
  for (const std::string& device : verdict.devices) names += (names.empty() ? "" : " + ") + device;
  return names;
}

std::string speed_of(const SetVerdict& verdict) {
  if (!verdict.predicted) return "unknown";
  return format_text("{:.1f} tokens/s", verdict.predicted->decode_tokens_per_s);
}

std::string loss_of(const std::optional<PublishedLoss>& loss) {
  if (!loss) return "loss unknown";
  return format_text("perplexity {:+.4f} of {} ({})", loss->added_perplexity, loss->model,
                     loss->source);
}

void print(const CompatibilityReport& report) {
  std::string text = report.model + (report.runs() ? " runs here" : " cannot run here");
  if (report.context != 0) {
    text += format_text(" with {} sequences of {} tokens", report.parallel, report.context);
  }
  text += "\n";
  for (const SetVerdict& verdict : report.verdicts) {
    text += format_text("  {:<24} {:<13} up to {} tokens, or {} sequences; speed {}\n",
                        names_of(verdict), verdict.fits ? "fits" : "does not fit",
                        verdict.max_context, verdict.max_parallel, speed_of(verdict));
    for (const std::string& why : verdict.why) text += "    - " + why + "\n";
  }
  if (!report.would_fit.empty()) text += "would fit:\n";
  for (const FittingType& type : report.would_fit) {
    text += format_text("  {:<8} {:>10}  {}\n", type.type, format_bytes(type.bytes),
                        loss_of(type.loss));
  }
  for (const SmallerStage& stage : report.smaller_stages) {
    text += format_text("would fit with --quantize-stages allow: layers {} on {} as {}\n",
                        to_string(stage.layers), stage.device, stage.type.name);
  }
  std::fputs(text.c_str(), stdout);
}

}  // namespace

Status check_model(const Workspace& workspace, const ModelsCommand& command, bool json) {
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(const DeviceRegistry registry,
                          DeviceRegistry::detect(command.placement.devices, clock));
  GOGRID_RETURN_IF_ERROR(check_forced_devices(quantization_of(command.placement),
                                              candidates(registry, command.placement)));
  GOGRID_RETURN_IF_ERROR(set_caps_of_policy(workspace, registry, command.policy));
  std::optional<RemoteModel> remote;
  if (names_remote(command.name)) {
    GOGRID_ASSIGN_OR_RETURN(remote, look_at_remote(workspace, command.pull, command.name));
  }
  GOGRID_ASSIGN_OR_RETURN(const ModelSource source,
                          remote ? remote->source : workspace.locate_to_run(command.name));
  const CompatibilityService service = make_service(source, workspace, registry, command.placement);
  GOGRID_ASSIGN_OR_RETURN(const CompatibilityReport report, service.check(command.name, {}));
  if (json) {
    std::printf("%s\n", compatibility_json(report).c_str());
  } else {
    print(report);
  }
  return report.runs() ? Status() : std::unexpected(*report.never);
}

}  // namespace gogrid

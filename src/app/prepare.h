// From a MODEL argument to a plan: file, profile, devices, measurements, stages.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "device/device_registry.h"
#include "engine/text_engine.h"
#include "model/model_profile.h"
#include "model/quantized_size.h"
#include "placement/planner.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

// Slices that are kept on disk, at most.
inline constexpr Bytes kSliceCapacity = 64 * kGiB;

// Everything that planning takes; measured once, planned as often as memory comes and goes.
struct PreparedModel {
  ModelSource source;
  ModelProfile profile;
  std::vector<QuantizedModel> smaller;  // to say what would fit where it does not
  PlanQuestion question;
  std::vector<StageChoice> split;           // by hand; empty: the planner decides
  std::vector<DeviceBudget> budgets;        // of those measured; their memory as it was then
  std::map<std::string, Error> unmeasured;  // by device: what had no memory for it then
  Plan plan;                                // prepare_model() only
  std::vector<Device> devices;
  std::vector<std::string> notes;  // how each device was measured, or why it was left out
};

// The one ledger of the process. Never destroyed: it outlives even stages that hang and were left
// behind.
MemoryLedger& process_wide_ledger();

// The devices that a model may be planned on: those that were named, else all but renderers in
// software, which compute a thousand times slower than the cores they run on.
std::vector<Device> candidates(const DeviceRegistry& registry, const PlacementOptions& placement);

// As --quantize-stages says; where it says nothing: off.
StageQuantization quantization_of(const PlacementOptions& placement);
// kNotFound, with the nearest, for a type that is asked of a device that is not among them.
Status check_forced_devices(const StageQuantization& quantize, std::span<const Device> devices);

// The caps of that ledger, under the policy of the data folder (people's changes, over the balanced
// mode): for commands that run once.
Status set_caps_of_policy(const Workspace& workspace, const DeviceRegistry& registry,
                          const PolicyOptions& options = {});

// What is known of a model without measuring: measure_the_rest() does, when it is loaded.
Result<PreparedModel> describe_model(const Workspace& workspace, const DeviceRegistry& registry,
                                     const PlacementOptions& placement, std::string_view model,
                                     const Governor* governor = nullptr);

// Measures devices that were not measured for this model yet (a second or two each), within the
// caps of the ledger; says on a terminal what takes long. `plan` stays empty. Waits while
// `governor` pauses; null: never. A device that has no memory for it stays unmeasured: no error,
// also where it is the only one.
Result<PreparedModel> measure_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model, const Governor* governor = nullptr);

// The same for what stayed unmeasured; what has no memory now either still does, and what
// fails for another reason is left out. kCancelled when told to stop.
Status measure_the_rest(PreparedModel& prepared, const Workspace& workspace,
                        const DeviceRegistry& registry, StageFactory& factory,
                        const Governor* governor, const std::stop_token& stop);

// For commands that run a model once: measured and planned, under set_caps_of_policy(), with the
// loss of what is made smaller (add_loss()). kDoesNotFit and kUnsupported say what is short, and
// what would work.
Result<PreparedModel> prepare_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model);

// The engine of a prepared model, as every command runs it.
TextEngineOptions engine_options(const Workspace& workspace, const PreparedModel& prepared,
                                 const PlacementOptions& placement, Metrics* metrics);

}  // namespace gogrid

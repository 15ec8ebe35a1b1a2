// From a MODEL argument to a plan: file, profile, devices, measurements, stages.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/workspace.h"
#include "base/result.h"
#include "cli/options.h"
#include "device/device_registry.h"
#include "engine/text_engine.h"
#include "placement/plan.h"
#include "stage/stage.h"

namespace gogrid {

struct PreparedModel {
  ModelSource source;
  Plan plan;
  std::vector<Device> devices;
  std::vector<std::string> notes;  // how each device was measured, or why it was left out
};

// Measures devices that were not measured for this model yet (a second or two each), then plans;
// says on a terminal what takes long. kDoesNotFit and kUnsupported say what is short, and what
// would work.
Result<PreparedModel> prepare_model(const Workspace& workspace, const DeviceRegistry& registry,
                                    StageFactory& factory, const PlacementOptions& placement,
                                    std::string_view model);

// The engine of a prepared model, as every command runs it.
TextEngineOptions engine_options(const Workspace& workspace, const PreparedModel& prepared,
                                 const PlacementOptions& placement, Metrics* metrics);

}  // namespace gogrid

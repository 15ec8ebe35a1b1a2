#include "service/resource_service.h"

#include "resource/memory_metrics.h"

namespace gogrid {
namespace {

std::vector<DutyReport> duty_of(const EngineRegistry& engines, const ResourcePolicy& policy) {
  std::vector<DutyReport> duty;
  for (const ModelStatus& model : engines.list()) {
    if (model.engine == nullptr) continue;
    for (const StageStatus& stage : model.engine->stages()) {
      duty.push_back({.device = stage.device,
                      .model = model.name,
                      .layers = stage.layers,
                      .allowed = policy.compute_of(stage.device),
                      .busy = stage.busy});
    }
  }
  return duty;
}

}  // namespace

ResourceReport ResourceService::report() const {
  ResourceReport report;
  if (sources_.gate != nullptr) report.gate = sources_.gate->counts();
  if (sources_.ledger != nullptr) report.ledger = sources_.ledger->list();
  report.duty = duty_of(*sources_.engines, *sources_.policies->current());
  if (sources_.load) report.load = sources_.load();
  if (sources_.priority != nullptr) report.priority = sources_.priority->read();
  return report;
}

void ResourceService::export_memory(Metrics& metrics) const {
  if (sources_.ledger == nullptr) return;
  const auto devices =
      sources_.devices != nullptr ? sources_.devices->devices() : std::vector<Device>{};
  gogrid::export_memory(*sources_.ledger, devices, "/", metrics);
}

}  // namespace gogrid

#include "service/status_service.h"

#include <utility>

namespace gogrid {

std::string_view name_of(ServerState state) {
  switch (state) {
    case ServerState::kRunning:
      return "running";
    case ServerState::kPaused:
      return "paused";
    case ServerState::kDraining:
      return "draining";
  }
  return "running";
}

StatusService::StatusService(const DeviceRegistry& devices, const EngineRegistry& engines)
    : devices_(devices), engines_(engines) {}

StatusReport StatusService::report() const {
  StatusReport report;
  {
    MutexLock lock(mu_);
    report.state = state_;
    report.why = why_;
  }
  report.devices = devices_.devices();
  report.models = engines_.list();
  for (const ModelStatus& model : report.models) {
    if (model.engine == nullptr) continue;
    const BatcherStatus status = model.engine->status();
    report.streams += status.running;
    report.waiting += status.waiting;
  }
  return report;
}

bool StatusService::ready() const {
  {
    MutexLock lock(mu_);
    if (state_ != ServerState::kRunning) return false;
  }
  return engines_.ready();
}

void StatusService::set_state(ServerState state, std::string why) {
  MutexLock lock(mu_);
  state_ = state;
  why_ = std::move(why);
}

}  // namespace gogrid

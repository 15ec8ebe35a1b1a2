#include "service/status_service.h"

#include <algorithm>
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

StatusService::StatusService(const DeviceRegistry& devices, const EngineRegistry& engines,
                             const Governor& governor, const Clock& clock)
    : devices_(devices), engines_(engines), governor_(governor), clock_(clock) {}

void StatusService::tell_state(StatusReport& report) const {
  {
    MutexLock lock(mu_);
    if (draining_) {
      report.state = ServerState::kDraining;
      report.why = *draining_;
      return;
    }
  }
  const GovernorState governor = governor_.state();
  if (!governor.paused) return;
  report.state = ServerState::kPaused;
  report.why = governor.why;
  if (governor.until) report.resumes_in = std::max(*governor.until - clock_.now(), Duration(0));
}

StatusReport StatusService::report() const {
  StatusReport report;
  tell_state(report);
  report.devices = devices_.devices();
  report.models = engines_.list();
  for (const ModelStatus& model : report.models) {
    report.waiting += static_cast<std::uint32_t>(model.waiting);
    if (model.engine == nullptr) continue;
    const BatcherStatus status = model.engine->status();
    report.streams += status.running;
    report.waiting += status.waiting;
  }
  return report;
}

bool StatusService::ready() const {
  StatusReport report;
  tell_state(report);
  return report.state == ServerState::kRunning && engines_.ready();
}

void StatusService::set_draining(std::string why) {
  MutexLock lock(mu_);
  draining_ = std::move(why);
}

}  // namespace gogrid

// What /healthz, /readyz, /admin/v1/status and `gogrid top` say.
#pragma once

#include <string>
#include <vector>

#include "device/device_registry.h"
#include "engine/engine_registry.h"

namespace gogrid {

enum class ServerState : std::uint8_t { kRunning, kPaused, kDraining };
std::string_view name_of(ServerState state);

struct StatusReport {
  ServerState state = ServerState::kRunning;
  std::string why;  // empty while running
  std::vector<Device> devices;
  std::vector<ModelStatus> models;
  std::uint32_t streams = 0;  // running sequences, all models
  std::uint32_t waiting = 0;
};

// Thread-safe.
class StatusService {
 public:
  StatusService(const DeviceRegistry& devices, const EngineRegistry& engines);
  StatusReport report() const;
  bool ready() const;
  void set_state(ServerState state, std::string why);

 private:
  const DeviceRegistry& devices_;
  const EngineRegistry& engines_;
  mutable Mutex mu_;
  ServerState state_ GUARDED_BY(mu_) = ServerState::kRunning;
  std::string why_ GUARDED_BY(mu_);
};

}  // namespace gogrid

// What /healthz, /readyz, /admin/v1/status and `gogrid top` say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "device/device_registry.h"
#include "engine/engine_registry.h"
#include "resource/governor.h"

namespace gogrid {

enum class ServerState : std::uint8_t { kRunning, kPaused, kDraining };
std::string_view name_of(ServerState state);

struct StatusReport {
  ServerState state = ServerState::kRunning;
  std::string why;                     // empty while running
  std::optional<Duration> resumes_in;  // of a pause whose end is known
  std::vector<Device> devices;
  std::vector<ModelStatus> models;
  std::uint32_t streams = 0;  // running sequences, all models
  std::uint32_t waiting = 0;
};

// Thread-safe.
class StatusService {
 public:
  StatusService(const DeviceRegistry& devices, const EngineRegistry& engines,
                const Governor& governor, const Clock& clock);
  StatusReport report() const;
  bool ready() const;
  // From now on it is draining, paused or not.
  void set_draining(std::string why);

 private:
  void tell_state(StatusReport& report) const;

  const DeviceRegistry& devices_;
  const EngineRegistry& engines_;
  const Governor& governor_;
  const Clock& clock_;
  mutable Mutex mu_;
  std::optional<std::string> draining_ GUARDED_BY(mu_);  // why
};

}  // namespace gogrid

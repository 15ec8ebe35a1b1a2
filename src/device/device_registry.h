// Every device ggml finds on this machine, and the selection the user made of them.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "device/device.h"

namespace gogrid {

// Loads ggml's backends and initializes libllama, once per process, and routes their log lines to
// obs/log. Thread-safe; cheap after the first call.
void initialize_backends();

// Thread-safe. Memory readings are cached for kMemoryTtl; everything else is constant after
// detect().
class DeviceRegistry {
 public:
  static constexpr Duration kMemoryTtl = std::chrono::milliseconds(250);

  // All devices, or those that `specs` name (and make: an unknown id with cores is a new CPU
  // device). kNotFound with the nearest ids; kInvalidArgument for a core that this process may not
  // use, or two CPU devices that share a core.
  static Result<DeviceRegistry> detect(std::span<const DeviceSpec> specs, const Clock& clock);
  DeviceRegistry(DeviceRegistry&&) noexcept;
  ~DeviceRegistry();

  std::vector<Device> devices() const;
  Result<Device> find(std::string_view id) const;

 private:
  struct State;
  explicit DeviceRegistry(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Pins the calling thread, and with it every OpenMP team it starts, to these cores.
Status pin_this_thread(std::span<const int> cores);

}  // namespace gogrid

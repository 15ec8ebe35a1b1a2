#include "app/one_device.h"

#include <algorithm>

#include "app/prepare.h"
#include "device/device_registry.h"
#include "resource/memory_caps.h"

namespace gogrid {

Result<Device> one_device(const std::vector<DeviceSpec>& specs, const LongJob& job) {
  if (specs.size() > 1) {
    return fail(ErrorCode::kInvalidArgument,
                "--device: expected one at most: " + std::to_string(specs.size()), "--device");
  }
  GOGRID_ASSIGN_OR_RETURN(const DeviceRegistry registry,
                          DeviceRegistry::detect(specs, job.clock()));
  const std::vector<Device> devices = registry.devices();
  set_caps(process_wide_ledger(), devices, job.policy());
  if (!specs.empty()) return devices.front();
  const auto host = std::ranges::find(devices, DeviceKind::kCpu, &Device::kind);
  if (host == devices.end()) return fail(ErrorCode::kUnsupported, "[device] a CPU: none");
  return *host;
}

Result<std::vector<MemoryLedger::Lease>> lease_host_memory(const LongJob& job,
                                                           const std::string& holder, Bytes bytes) {
  GOGRID_ASSIGN_OR_RETURN(const Device host, one_device({}, job));
  const MemoryRequest request{host.id, MemoryUse::kCompute, holder, bytes};
  return process_wide_ledger().acquire({&request, 1});
}

}  // namespace gogrid

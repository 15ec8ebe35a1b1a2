// AMD's and Intel's GPUs as the kernel tells of them: /sys/class/drm, and /proc for who uses them.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "device/drm_usage.h"
#include "device/gpu_reading.h"

namespace gogrid {

struct SysfsOptions {
  std::filesystem::path root = "/";  // prefixed to /sys and /proc, for tests
  unsigned own_pid = static_cast<unsigned>(::getpid());
};

// What is told, by driver (kernel documentation, gpu/amdgpu and gpu/drm-usage-stats):
//   amdgpu    busy (of all), memory, temperature; per client time and memory
//   i915, xe  per client time and memory; temperature of cards that have the sensor. How busy the
//             whole GPU is, is told to nobody who may not look into all processes.
// NVIDIA's are NvmlSource's. A GPU that sleeps is idle, and is not woken to be asked.
//
// Not thread-safe (see GpuSource). `clock` must outlive it.
class SysfsGpuSource final : public GpuSource {
 public:
  SysfsGpuSource(SysfsOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock) {}

  std::string name() const override { return "sysfs"; }
  SourceReading read() override;

 private:
  void keep_known(SourceReading& reading);

  const SysfsOptions options_;
  const Clock& clock_;
  DrmUsage usage_;
  std::map<std::string, GpuReading> identities_;  // names only, every figure unknown
};

// A card that one of these drivers has: its folder in sysfs, and who it is.
struct DrmCard {
  std::filesystem::path folder;
  std::string driver;
  GpuReading identity;
};
std::vector<DrmCard> find_drm_cards(const std::filesystem::path& root);

// Fills in busy, busy_by_own, busy_by_others, and notes for what they are not. `told_busy` is the
// driver's figure of the whole GPU, if it has one.
void fill_use(GpuReading& gpu, std::optional<Share> told_busy, const std::optional<DrmUse>& use,
              const DrmScan& scan);

}  // namespace gogrid

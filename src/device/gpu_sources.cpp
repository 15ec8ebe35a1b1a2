#include "device/gpu_sources.h"

#include "device/nvml_source.h"
#include "device/sysfs_gpu.h"

namespace gogrid {

std::vector<std::unique_ptr<GpuSource>> make_gpu_sources(const Clock& clock) {
  std::vector<std::unique_ptr<GpuSource>> sources;
  sources.push_back(std::make_unique<NvmlSource>(NvmlOptions{}, clock));
  sources.push_back(std::make_unique<SysfsGpuSource>(SysfsOptions{}, clock));
  return sources;
}

}  // namespace gogrid

// NVIDIA's GPUs as NVML tells of them.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <span>

#include "base/clock.h"
#include "device/gpu_reading.h"
#include "device/nvidia_power.h"
#include "device/nvml_library.h"
#include "device/process_scope.h"

namespace gogrid {

struct NvmlOptions {
  std::filesystem::path library = kNvmlFileName;
  std::filesystem::path root = "/";  // prefixed to /sys, for tests
  // After a failure to load or initialize it, and after a GPU was lost: how long until NVML is
  // loaded again. Both cost the driver tens of milliseconds.
  Duration retry = std::chrono::minutes(1);
  unsigned own_pid = static_cast<unsigned>(::getpid());
  // False in a container: the driver tells the host's numbers of processes, or a mixture, and ours
  // cannot be found among them.
  bool host_pids = has_host_process_ids();
  // The wall clock in microseconds since 1970, by which the driver stamps its samples.
  std::function<std::uint64_t()> wall_us = {};  // empty: the system's
};

// A GPU that was seen once stays listed: lost, it is unknown with the reason until it comes back.
//
// A GPU that may sleep (a laptop's) is let sleep: asleep or about to, it is idle and not asked, and
// NVML is unloaded after each look, for it would keep the GPU awake. (Unless this process uses it.)
//
// Not thread-safe (see GpuSource). `clock` must outlive it.
class NvmlSource final : public GpuSource {
 public:
  NvmlSource(NvmlOptions options, const Clock& clock);

  std::string name() const override { return "NVML"; }
  SourceReading read() override;

 private:
  Status connect();
  void disconnect(Error reason);
  Status look_at_all(SourceReading& reading, std::map<std::string, Error>& lost);
  void report_resting(SourceReading& reading) const;
  Result<GpuReading> look(unsigned index);
  Status read_figures(nvml::Device device, GpuReading& gpu) const;
  Status read_use(nvml::Device device, GpuReading& gpu) const;

  const NvmlOptions options_;
  const Clock& clock_;
  std::optional<NvmlLibrary> library_;
  std::optional<Error> last_fault_;
  std::optional<TimePoint> last_try_;
  std::map<std::string, GpuPower> power_;         // of this look
  std::map<unsigned, std::string> addresses_;     // by NVML's index, of this session
  std::map<std::string, GpuReading> identities_;  // by address: names only, every figure unknown
};

// What a GPU was used by us and by others, each at most the whole.
struct UseSplit {
  Share own;
  Share others;
};
UseSplit split_use(std::span<const NvmlProcessUse> uses, unsigned own_pid);

// Fills in own and others' use, after `gpu.busy`. Where the GPU is much busier than both together,
// a process is missing among the driver's samples: what is nothing then is unknown, the rest a
// floor.
void fill_split(GpuReading& gpu, UseSplit split);

}  // namespace gogrid

// What a GPU is doing, in the same words for every vendor.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/share.h"
#include "base/units.h"

namespace gogrid {

// Empty: not known, and `notes` says why. Never zero for "unknown".
struct GpuReading {
  // The PCI address as the kernel writes it, "0000:03:00.0"; "nvidia0" where NVML cannot tell it.
  std::string id;
  std::string vendor;  // "nvidia", "amd", "intel"
  std::string name;    // for people
  std::string uuid;    // NVIDIA's own name of the device; empty where there is none

  std::optional<Bytes> memory_total;
  std::optional<Bytes> memory_used;  // by everybody
  std::optional<Bytes> memory_free;
  std::optional<Bytes> memory_own;  // of `memory_used`, what this process holds

  std::optional<Share> busy;            // of the time, by everybody
  std::optional<Share> busy_by_own;     // by this process
  std::optional<Share> busy_by_others;  // by everybody else
  std::optional<Share> memory_busy;     // of the time, the memory controller
  std::optional<int> celsius;
  std::optional<bool> partitioned;  // NVIDIA's MIG: utilization is not told for such a device

  std::vector<std::string> notes;  // why a value is unknown or only an estimate, for people
};

// A GPU that sleeps does nothing, and is not woken to be asked for more.
void tell_asleep(GpuReading& gpu);

// What one source told at one look.
struct SourceReading {
  std::vector<GpuReading> gpus;
  std::optional<Error> fault;  // why the source as a whole tells nothing, or not all
};

// One way to look at GPUs: a vendor's library, or the kernel's files.
//
// Not thread-safe: used by one thread at a time (Telemetry gives each source its own). read() may
// block for as long as the driver does.
class GpuSource {
 public:
  virtual ~GpuSource() = default;
  virtual std::string name() const = 0;  // "NVML", "sysfs": for texts
  virtual SourceReading read() = 0;
};

}  // namespace gogrid

// NVIDIA's management library, loaded while running: a machine without the driver needs nothing of
// it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "device/nvml_abi.h"

namespace gogrid {

inline constexpr std::string_view kNvmlFileName = "libnvidia-ml.so.1";

// A process that holds memory of a GPU. `pid` is the host's, whatever namespace we live in.
struct NvmlProcess {
  unsigned pid = 0;
  std::optional<Bytes> memory;
};

// What a process used of a GPU lately, in per cent of the time. `time_us`: when that was sampled,
// by the wall clock.
struct NvmlProcessUse {
  unsigned pid = 0;
  unsigned sm = 0;
  unsigned memory = 0;
  std::uint64_t time_us = 0;
};

// The library, loaded and initialized; shut down and unloaded with the object. Errors name the
// function and what NVML's code means:
//   kUnsupported       this driver has no such function, or this GPU has no such figure
//   kPermissionDenied  of the driver, or of the control group
//   kUnavailable       no driver; the GPU is lost; library and driver are of different versions:
//   every
//                      call would say so, and a handle or the library must be got anew
//   kDeadline, kExhausted, kNotFound, kCorrupt, kInternal   of this one figure
//
// Move-only. Not thread-safe: one thread at a time, for any call may wait for the driver.
class NvmlLibrary {
 public:
  // `library` without a slash is searched for as the dynamic linker does. kUnavailable when there
  // is none ("libnvidia-ml.so.1 not found: is the NVIDIA driver installed?"); kUnsupported when it
  // lacks a function that nothing works without (all such are named).
  static Result<NvmlLibrary> open(const std::filesystem::path& library = kNvmlFileName);
  NvmlLibrary(NvmlLibrary&&) noexcept;
  NvmlLibrary& operator=(NvmlLibrary&&) noexcept;
  ~NvmlLibrary();

  Result<unsigned> count() const;
  // Valid until this object ends. Ask again at each look: a GPU that was lost comes back under a
  // new handle.
  Result<nvml::Device> device(unsigned index) const;

  Result<std::string> uuid(nvml::Device device) const;
  Result<std::string> name(nvml::Device device) const;
  Result<std::string> pci_address(nvml::Device device) const;  // as in sysfs: "0000:03:00.0"
  Result<nvml::Memory> memory(nvml::Device device) const;
  Result<nvml::Utilization> utilization(nvml::Device device) const;
  Result<int> celsius(nvml::Device device) const;
  Result<bool> mig_enabled(nvml::Device device) const;
  // Whoever computes or draws on it, each process once.
  Result<std::vector<NvmlProcess>> processes(nvml::Device device) const;
  // Processes that used it after `since_us` (wall clock, microseconds), each with its newest
  // sample. Empty: nobody did.
  Result<std::vector<NvmlProcessUse>> process_use(nvml::Device device,
                                                  std::uint64_t since_us) const;

 private:
  struct State;
  explicit NvmlLibrary(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// "[nvml] FUNCTION: what the code means", with the code that it is among ours.
Error nvml_error(std::string_view function, nvml::Return code);

}  // namespace gogrid

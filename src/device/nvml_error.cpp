// What NVML's return codes mean, from its public API reference.
#include <algorithm>
#include <array>

#include "device/nvml_library.h"

namespace gogrid {
namespace {

struct Meaning {
  nvml::Return code;
  ErrorCode ours;
  std::string_view text;
};

constexpr auto kMeanings = std::to_array<Meaning>({
    {nvml::kUninitialized, ErrorCode::kUnavailable, "NVML is not initialized"},
    {nvml::kInvalidArgument, ErrorCode::kInternal, "invalid argument"},
    {nvml::kNotSupported, ErrorCode::kUnsupported, "not supported by this GPU"},
    {nvml::kNoPermission, ErrorCode::kPermissionDenied,
     "permission denied: may this user open /dev/nvidia*?"},
    {nvml::kNotFound, ErrorCode::kNotFound, "not found"},
    {nvml::kInsufficientSize, ErrorCode::kInternal, "the buffer is too small"},
    {nvml::kInsufficientPower, ErrorCode::kUnavailable,
     "the GPU's external power cables are not attached"},
    {nvml::kDriverNotLoaded, ErrorCode::kUnavailable, "the NVIDIA driver is not loaded"},
    {nvml::kTimeout, ErrorCode::kDeadline, "the driver's own time limit passed"},
    {nvml::kIrqIssue, ErrorCode::kUnavailable, "the kernel has an interrupt problem with the GPU"},
    {nvml::kLibraryNotFound, ErrorCode::kUnavailable, "a library of the driver was not found"},
    {nvml::kFunctionNotFound, ErrorCode::kUnsupported, "the driver has no such function"},
    {nvml::kCorruptedInforom, ErrorCode::kCorrupt, "the GPU's infoROM is corrupted"},
    {nvml::kGpuIsLost, ErrorCode::kUnavailable,
     "the GPU is lost: it has fallen off the bus or cannot be reached"},
    {nvml::kResetRequired, ErrorCode::kUnavailable, "the GPU needs a reset"},
    {nvml::kOperatingSystem, ErrorCode::kPermissionDenied,
     "the operating system or a control group blocks the GPU"},
    {nvml::kVersionMismatch, ErrorCode::kUnavailable,
     "the library and the loaded driver are of different versions: restart the machine after a "
     "driver update"},
    {nvml::kInUse, ErrorCode::kExhausted, "the GPU is in use"},
    {nvml::kMemory, ErrorCode::kExhausted, "the driver has too little memory"},
    {nvml::kNoData, ErrorCode::kNotFound, "the driver has no data"},
    {nvml::kUnknown, ErrorCode::kInternal, "an unknown error of the driver"},
});

}  // namespace

Error nvml_error(std::string_view function, nvml::Return code) {
  const auto found = std::ranges::find(kMeanings, code, &Meaning::code);
  const std::string where = "[nvml] " + std::string(function) + ": ";
  if (found == kMeanings.end()) {
    return {.code = ErrorCode::kInternal,
            .message = where + "expected a known code: " + std::to_string(code)};
  }
  return {.code = found->ours, .message = where + std::string(found->text)};
}

}  // namespace gogrid

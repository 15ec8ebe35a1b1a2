// The part of NVIDIA's management library (NVML) that we call, as its public API reference states
// it: https://docs.nvidia.com/deploy/nvml-api. Declared here, so that building needs no NVIDIA
// header.
#pragma once

#include <array>
#include <cstdint>

extern "C" {
struct nvmlDevice_st;  // opaque
}

namespace gogrid::nvml {

using Device = nvmlDevice_st*;
using Return = int;

inline constexpr Return kSuccess = 0;
inline constexpr Return kUninitialized = 1;
inline constexpr Return kInvalidArgument = 2;
inline constexpr Return kNotSupported = 3;
inline constexpr Return kNoPermission = 4;
inline constexpr Return kNotFound = 6;
inline constexpr Return kInsufficientSize = 7;
inline constexpr Return kInsufficientPower = 8;
inline constexpr Return kDriverNotLoaded = 9;
inline constexpr Return kTimeout = 10;
inline constexpr Return kIrqIssue = 11;
inline constexpr Return kLibraryNotFound = 12;
inline constexpr Return kFunctionNotFound = 13;
inline constexpr Return kCorruptedInforom = 14;
inline constexpr Return kGpuIsLost = 15;
inline constexpr Return kResetRequired = 16;
inline constexpr Return kOperatingSystem = 17;
inline constexpr Return kVersionMismatch = 18;
inline constexpr Return kInUse = 19;
inline constexpr Return kMemory = 20;
inline constexpr Return kNoData = 21;
inline constexpr Return kUnknown = 999;

inline constexpr int kTemperatureGpu = 0;    // the one sensor that every GPU has
inline constexpr unsigned kMigEnabled = 1;   // NVML_DEVICE_MIG_ENABLE
inline constexpr unsigned kUuidBuffer = 96;  // NVML_DEVICE_UUID_V2_BUFFER_SIZE
inline constexpr unsigned kNameBuffer = 96;  // NVML_DEVICE_NAME_V2_BUFFER_SIZE
inline constexpr std::uint64_t kNotAvailable = ~std::uint64_t{0};  // NVML_VALUE_NOT_AVAILABLE

struct Memory {
  unsigned long long total, free, used;
};

struct Utilization {
  unsigned gpu, memory;  // per cent
};

// The head that all three versions of nvmlPciInfo_t share. What follows it differs (at most 36
// bytes so far), and is not read.
struct PciInfo {
  std::array<char, 16> bus_id_legacy;
  unsigned domain, bus, device;
  std::array<unsigned char, 228> rest;
};

struct ProcessUtilizationSample {
  unsigned pid;
  unsigned long long time_us;             // wall clock, microseconds
  unsigned sm, memory, encoder, decoder;  // per cent
};
static_assert(sizeof(ProcessUtilizationSample) == 32);

// nvmlProcessInfo_t of version 1, of versions 2 and 3, and what some drivers (535 among them) write
// for version 3 instead: a further field, without another name of the function.
struct ProcessInfoV1 {
  unsigned pid;
  unsigned long long used;
};
struct ProcessInfoV2 {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
struct ProcessInfoWide {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
  unsigned long long used_protected;
};
static_assert(sizeof(ProcessInfoV1) == 16 && sizeof(ProcessInfoV2) == 24 &&
              sizeof(ProcessInfoWide) == 32);

using Init = Return();
using Shutdown = Return();
using GetCount = Return(unsigned* count);
using GetHandleByIndex = Return(unsigned index, Device* device);
using GetText = Return(Device device, char* text, unsigned length);  // UUID, name
using GetPciInfo = Return(Device device, PciInfo* info);
using GetMemoryInfo = Return(Device device, Memory* memory);
using GetUtilizationRates = Return(Device device, Utilization* rates);
using GetTemperature = Return(Device device, int sensor, unsigned* celsius);
using GetMigMode = Return(Device device, unsigned* current, unsigned* pending);
using GetProcesses = Return(Device device, unsigned* count, void* infos);
using GetProcessUtilization = Return(Device device, ProcessUtilizationSample* samples,
                                     unsigned* count, unsigned long long since_us);

}  // namespace gogrid::nvml

// A libnvidia-ml.so.1 of the tests' own. Built in four shapes:
//   (none)            every function
//   FAKE_NVML_OLD     the first versions of the functions alone, as drivers of ten years ago had
//   them FAKE_NVML_HALF    only what nothing works without, and memory FAKE_NVML_BROKEN  a library
//   without a function that nothing works without
// The layouts are written down here once more, apart from the product's, from the public reference.
#include "fake_nvml.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace {

FakeNvml state;

enum : int {
  kSuccess = 0,
  kInvalid = 2,
  kNotSupported = 3,
  kNotFound = 6,
  kTooSmall = 7,
  kLost = 15
};

// Counts who is inside: NVML may be called by several threads, but ours must not.
class Visit {
 public:
  Visit() {
    if (state.inside.fetch_add(1) > 0) state.shared = true;
  }
  ~Visit() { state.inside.fetch_sub(1); }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
};

std::array<char, 64> handles;  // a handle is an address in here

unsigned index_of(void* device) {
  return static_cast<unsigned>(static_cast<char*>(device) - handles.data());
}

int ask(void* device) {
  ++state.questions;
  const unsigned index = index_of(device);
  if (index >= state.gpus) return kInvalid;
  if (static_cast<int>(index) == state.lost_gpu) return kLost;
  return state.device_code;
}

[[maybe_unused]] int put_text(const char* format, unsigned index, char* text, unsigned length) {
  const int written = std::snprintf(text, length, format, index);
  return written >= 0 && static_cast<unsigned>(written) < length ? kSuccess : kTooSmall;
}

}  // namespace

extern "C" {

FakeNvml* fake_nvml() { return &state; }

// As if just loaded: an earlier test's wishes are gone.
void fake_nvml_reset() {
  state.~FakeNvml();
  new (&state) FakeNvml();
}

// --- what nothing works without

#if defined(FAKE_NVML_OLD)
#define INIT nvmlInit
#define GET_COUNT nvmlDeviceGetCount
#define GET_HANDLE nvmlDeviceGetHandleByIndex
#else
#define INIT nvmlInit_v2
#define GET_COUNT nvmlDeviceGetCount_v2
#define GET_HANDLE nvmlDeviceGetHandleByIndex_v2
#endif

int INIT() {
  const Visit visit;
  ++state.inits;
  return state.init_code;
}

#if !defined(FAKE_NVML_BROKEN)
int nvmlShutdown() {
  const Visit visit;
  ++state.shutdowns;
  return kSuccess;
}

int GET_HANDLE(unsigned index, void** device) {
  const Visit visit;
  if (index >= state.gpus) return kInvalid;
  if (static_cast<int>(index) == state.lost_gpu) return kLost;
  *device = &handles[index];
  return kSuccess;
}
#endif

int GET_COUNT(unsigned* count) {
  const Visit visit;
  *count = state.gpus;
  return state.count_code;
}

struct FakeMemory {
  unsigned long long total, free, used;
};

int nvmlDeviceGetMemoryInfo(void* device, FakeMemory* memory) {
  const Visit visit;
  state.blocked.wait(true);
  const int code = ask(device);
  *memory = {state.memory_total, state.memory_total - state.memory_used, state.memory_used};
  return code;
}

#if !defined(FAKE_NVML_HALF) && !defined(FAKE_NVML_BROKEN)

// --- the rest of the first versions

int nvmlDeviceGetUUID(void* device, char* text, unsigned length) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  return put_text("GPU-00000000-0000-0000-0000-%012u", index_of(device), text, length);
}

int nvmlDeviceGetName(void* device, char* text, unsigned length) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  return put_text("NVIDIA Fake %u", index_of(device), text, length);
}

struct FakePci {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};

#if defined(FAKE_NVML_OLD)
int nvmlDeviceGetPciInfo(void* device, FakePci* info) {
#else
int nvmlDeviceGetPciInfo_v3(void* device, FakePci* info) {
#endif
  const Visit visit;
  if (const int code = ask(device)) return code;
  *info = {};
  info->domain = 1;
  info->bus = 0x40 + index_of(device);
  std::snprintf(info->bus_id, sizeof info->bus_id, "00000001:%02X:00.0", info->bus);
  return kSuccess;
}

struct FakeRates {
  unsigned gpu, memory;
};

int nvmlDeviceGetUtilizationRates(void* device, FakeRates* rates) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  if (state.mig) return kNotSupported;
  *rates = {state.gpu_percent, state.memory_percent};
  return state.utilization_code;
}

int nvmlDeviceGetTemperature(void* device, int sensor, unsigned* celsius) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  *celsius = 40 + index_of(device);
  return sensor == 0 ? kSuccess : kInvalid;
}

namespace {

// Entries of `size` bytes: process, padding, memory, and where there is room the two instances.
int put_list(bool drawing, std::size_t size, unsigned* count, unsigned char* out) {
  if (state.processes_code != kSuccess) return state.processes_code;
  const auto listed = [&](const FakeNvmlProcess& p) { return p.pid != 0 && (!drawing || p.draws); };
  const auto found = static_cast<unsigned>(std::ranges::count_if(state.processes, listed));
  const unsigned room = *count;
  *count = found;
  if (found > room) return kTooSmall;
  if (state.clears_buffer) std::memset(out, 0, std::size_t{room} * size);
  for (const FakeNvmlProcess& process : state.processes) {
    if (!listed(process)) continue;
    struct {
      unsigned pid, padding;
      unsigned long long used;
      unsigned instances[2];
      unsigned long long used_protected;
    } entry{process.pid, 0, process.memory, {~0U, ~0U}, 0};
    std::memcpy(out, &entry, size);
    out += size;
  }
  return kSuccess;
}

}  // namespace

#if defined(FAKE_NVML_OLD)

int nvmlDeviceGetComputeRunningProcesses(void* device, unsigned* count, void* infos) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  return put_list(false, 16, count, static_cast<unsigned char*>(infos));
}

int nvmlDeviceGetGraphicsRunningProcesses(void* device, unsigned* count, void* infos) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  return put_list(true, 16, count, static_cast<unsigned char*>(infos));
}

#else

int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, void* infos) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  return put_list(false, state.wide_entries ? 32 : 24, count, static_cast<unsigned char*>(infos));
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void* device, unsigned* count, void* infos) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  return put_list(true, state.wide_entries ? 32 : 24, count, static_cast<unsigned char*>(infos));
}

int nvmlDeviceGetMigMode(void* device, unsigned* current, unsigned* pending) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  *current = *pending = state.mig ? 1 : 0;
  return kSuccess;
}

struct FakeSample {
  unsigned pid;
  unsigned long long time_us;
  unsigned sm, memory, encoder, decoder;
};

int nvmlDeviceGetProcessUtilization(void* device, FakeSample* samples, unsigned* count,
                                    unsigned long long since_us) {
  const Visit visit;
  if (const int code = ask(device)) return code;
  if (state.mig) return kNotSupported;
  if (state.use_code != kSuccess) return state.use_code;
  const auto sampled = [&](const FakeNvmlProcess& p) {
    return p.pid != 0 && (state.hands_out_old || p.sampled_us > since_us);
  };
  const auto found = static_cast<unsigned>(std::ranges::count_if(state.processes, sampled));
  const unsigned room = *count;
  *count = found;
  if (found > room) return kTooSmall;
  if (found == 0) return kNotFound;
  for (const FakeNvmlProcess& process : state.processes) {
    if (!sampled(process)) continue;
    *samples++ = {process.pid, process.sampled_us, process.sm_percent, 0, 0, 0};
  }
  return kSuccess;
}

#endif
#endif
}  // extern "C"

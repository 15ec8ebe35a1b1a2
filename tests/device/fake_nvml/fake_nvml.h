// How a test tells the fake libnvidia-ml.so.1 what to play. The library exports fake_nvml(), which
// a test finds with dlsym after it loaded the library itself; both then see one object.
#pragma once

#include <array>
#include <atomic>

struct FakeNvmlProcess {
  std::atomic<unsigned> pid{0};
  std::atomic<unsigned long long> memory{0};
  std::atomic<unsigned> sm_percent{0};
  std::atomic<unsigned long long> sampled_us{0};  // 0: not sampled; it only holds memory
  std::atomic<bool> draws{false};                 // listed among those that draw, too
};

struct FakeNvml {
  std::atomic<unsigned> gpus{1};
  std::atomic<int> init_code{0};
  std::atomic<int> count_code{0};
  std::atomic<int> device_code{0};       // of every question about a GPU
  std::atomic<int> utilization_code{0};  // of nvmlDeviceGetUtilizationRates
  std::atomic<int> processes_code{0};    // of both lists of processes
  std::atomic<int> use_code{0};          // of nvmlDeviceGetProcessUtilization
  std::atomic<int> lost_gpu{-1};         // its index: handle and questions answer "GPU is lost"
  std::atomic<bool> mig{false};
  std::atomic<bool> wide_entries{false};   // 32 bytes where 24 are promised, as driver 535 writes
  std::atomic<bool> clears_buffer{false};  // writes zeros over the list's whole buffer first
  std::atomic<bool> hands_out_old{false};  // samples from before the time that was asked for
  std::atomic<bool> blocked{false};        // nvmlDeviceGetMemoryInfo waits until this is false
  std::atomic<unsigned> gpu_percent{0};
  std::atomic<unsigned> memory_percent{0};
  std::atomic<unsigned long long> memory_total{24ULL << 30};
  std::atomic<unsigned long long> memory_used{0};
  std::array<FakeNvmlProcess, 256> processes;

  std::atomic<int> inits{0};
  std::atomic<int> shutdowns{0};
  std::atomic<int> questions{0};    // about a GPU
  std::atomic<int> inside{0};       // threads that are in the library now
  std::atomic<bool> shared{false};  // ever two at once
};

using FakeNvmlFunction = FakeNvml*();

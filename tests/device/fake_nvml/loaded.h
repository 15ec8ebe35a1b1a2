// The fake libnvidia-ml.so.1, loaded by the test beside the product, so that both see one object.
#pragma once

#include <dlfcn.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "device/fake_nvml/fake_nvml.h"

namespace gogrid::testing {

// `shape`: "full", "old", "half" or "broken", as fake_nvml.cpp has them.
class LoadedNvml {
 public:
  explicit LoadedNvml(const std::string& shape = "full")
      : path_(std::filesystem::path(GOGRID_FAKE_NVML) / shape / "libnvidia-ml.so.1"),
        object_(::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (object_ == nullptr) throw std::runtime_error(::dlerror());
    reinterpret_cast<void (*)()>(::dlsym(object_, "fake_nvml_reset"))();
    state_ = reinterpret_cast<FakeNvmlFunction*>(::dlsym(object_, "fake_nvml"))();
  }
  ~LoadedNvml() { ::dlclose(object_); }
  LoadedNvml(const LoadedNvml&) = delete;
  LoadedNvml& operator=(const LoadedNvml&) = delete;

  const std::filesystem::path& path() const { return path_; }
  FakeNvml& operator*() { return *state_; }
  FakeNvml* operator->() { return state_; }

  void add_process(std::size_t slot, unsigned pid, unsigned long long memory,
                   unsigned sm_percent = 0, unsigned long long sampled_us = 0) {
    FakeNvmlProcess& process = state_->processes.at(slot);
    process.pid = pid;
    process.memory = memory;
    process.sm_percent = sm_percent;
    process.sampled_us = sampled_us;
  }

 private:
  std::filesystem::path path_;
  void* object_;
  FakeNvml* state_ = nullptr;
};

}  // namespace gogrid::testing

// Whether a model runs here, asked before anybody loads it: `gogrid models check` and
// /admin/v1/models/{name}/compatibility.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "model/lora_adapter.h"
#include "placement/compatibility.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// A model's file, and its SHA-256 where somebody has read all of it (else empty: then its speeds
// are not known either).
struct CheckedModel {
  std::string name;
  std::filesystem::path path;
  std::string digest;
  std::optional<AdapterSource> adapter = {};  // over it
};

// What is asked of it; empty: what it would be loaded with here.
struct CheckOptions {
  std::optional<std::uint32_t> context = {};   // tokens a sequence, from 1
  std::optional<std::uint32_t> parallel = {};  // sequences, from 1
};

struct CompatibilitySources {
  std::function<Result<CheckedModel>(std::string_view name)> find = {};
  std::function<std::vector<Device>()> devices = {};  // as they are now
  const MemoryLedger* ledger = nullptr;               // never null; must outlive the service
  std::filesystem::path measurements = {};            // of engine/calibration.h
  std::filesystem::path slices = {};                  // whose disk the slices of a cut model take
  Bytes slice_capacity = UINT64_MAX;                  // of slices on it, at most
  CheckOptions usual = {};                            // where nothing is asked
  bool deterministic = false;
  StageQuantization quantize = {};  // of stages, as it would be loaded here
};

// Thread-safe. Reads the model's header, and nothing else of it; measures nothing.
class CompatibilityService {
 public:
  explicit CompatibilityService(CompatibilitySources sources) : sources_(std::move(sources)) {}

  // The errors of `find`, and of a file that is damaged. A file that this build can never run
  // (kUnsupported) is a report without verdicts that says what lacks. Searches: up to a second
  // where there are eight devices.
  Result<CompatibilityReport> check(std::string_view model, const CheckOptions& options) const;

 private:
  std::vector<CheckedDevice> checked_devices(std::string_view digest) const;

  const CompatibilitySources sources_;
};

}  // namespace gogrid

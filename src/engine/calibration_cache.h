// Measured speeds on disk, one small JSON file for each model, device and library version.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "device/device.h"
#include "placement/planner.h"

namespace gogrid {

// Thread-safe; several processes may share a folder.
class CalibrationCache {
 public:
  // `library`: version of what computes; other versions' results are not found.
  CalibrationCache(std::filesystem::path folder, std::string library);

  // The speeds measured for this model on this device; its id and memory are the caller's. Empty
  // when there are none, or the file is damaged.
  std::optional<DeviceBudget> find(std::string_view digest, const Device& device) const;
  Status keep(std::string_view digest, const Device& device, const DeviceBudget& budget) const;

 private:
  std::filesystem::path path_of(const std::string& key) const;
  std::string key_of(std::string_view digest, const Device& device) const;

  const std::filesystem::path folder_;
  const std::string library_;
};

}  // namespace gogrid

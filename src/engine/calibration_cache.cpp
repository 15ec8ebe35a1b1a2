#include "engine/calibration_cache.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/files.h"
#include "base/sha256.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;  // of the file, and of how speeds are measured
constexpr Bytes kMaxFile = 64 * kKiB;
constexpr double kMaxMs = 1e9;

struct Field {
  const char* name;
  double DeviceBudget::* member;
};
constexpr std::array kFields = {
    Field{"call_ms", &DeviceBudget::call_ms},
    Field{"layer_read_ms", &DeviceBudget::layer_read_ms},
    Field{"layer_row_ms", &DeviceBudget::layer_row_ms},
    Field{"head_read_ms", &DeviceBudget::head_read_ms},
    Field{"head_row_ms", &DeviceBudget::head_row_ms},
    Field{"prefill_row_ms", &DeviceBudget::prefill_row_ms},
};

std::optional<double> speed(const Json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  const auto value = found->get<double>();
  if (!std::isfinite(value) || value < 0 || value > kMaxMs) return std::nullopt;
  return value;
}

}  // namespace

CalibrationCache::CalibrationCache(std::filesystem::path folder, std::string library)
    : folder_(std::move(folder)), library_(std::move(library)) {}

// Everything the speeds depend on, spelled out: it stands in the file too.
std::string CalibrationCache::key_of(std::string_view digest, const Device& device) const {
  std::string cores;
  for (const int core : device.cores) {
    cores += (cores.empty() ? "" : ",") + std::to_string(core);
  }
  return Json::array({kVersion, std::string(digest), device.backend, device.name, cores,
                      device.pinned, library_})
      .dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::filesystem::path CalibrationCache::path_of(const std::string& key) const {
  Sha256 hash;
  hash.update(key);
  return folder_ / (hash.finish() + ".json");
}

std::optional<DeviceBudget> CalibrationCache::find(std::string_view digest,
                                                   const Device& device) const {
  const std::string key = key_of(digest, device);
  const auto text = read_file(path_of(key), kMaxFile);
  if (!text) return std::nullopt;
  const Json json = Json::parse(*text, nullptr, false);
  if (!json.is_object() || json.value("key", Json()) != Json(key)) return std::nullopt;
  DeviceBudget budget;
  for (const Field& field : kFields) {
    const auto value = speed(json, field.name);
    if (!value) return std::nullopt;
    budget.*field.member = *value;
  }
  return budget;
}

Status CalibrationCache::keep(std::string_view digest, const Device& device,
                              const DeviceBudget& budget) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) {
    return fail(ErrorCode::kIo,
                "[calibration] the folder " + folder_.string() + ": " + error.message());
  }
  const std::string key = key_of(digest, device);
  Json json = {{"key", key}, {"device", device.id}};
  for (const Field& field : kFields) json[field.name] = budget.*field.member;
  return write_file(path_of(key), json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n");
}

}  // namespace gogrid

#include "service/compatibility_service.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "engine/calibration.h"
#include "engine/device_room.h"
#include "model/gguf_file.h"
#include "model/model_profile.h"
#include "model/quantized_size.h"

namespace gogrid {
namespace {

struct ReadModel {
  GgufFile file;
  ModelProfile profile;
};

Result<ReadModel> read_model(const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(path));
  GOGRID_ASSIGN_OR_RETURN(ModelProfile profile, read_profile(file));
  return ReadModel{std::move(file), std::move(profile)};
}

// What slices may take: what is free, and not more than is ever kept of them.
std::optional<Bytes> disk_for(const std::filesystem::path& folder, Bytes capacity) {
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  if (error) return std::nullopt;
  return std::min<Bytes>(space.available, capacity);
}

}  // namespace

std::vector<CheckedDevice> CompatibilityService::checked_devices(std::string_view digest) const {
  const CalibrationCache cache = calibration_cache(sources_.measurements);
  const std::vector<Device> devices = sources_.devices();
  const std::vector<DeviceRoom> rooms = room_of(devices, *sources_.ledger);
  std::vector<CheckedDevice> checked;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const auto kept = digest.empty() ? std::nullopt : cache.find(digest, devices[i]);
    CheckedDevice device{.budget = kept.value_or(DeviceBudget{}),
                         .memory_now = rooms[i].now,
                         .measured = kept.has_value()};
    device.budget.id = devices[i].id;
    device.budget.memory = rooms[i].alone;
    device.budget.last_resort = is_last_resort(devices[i]);
    checked.push_back(std::move(device));
  }
  return checked;
}

Result<CompatibilityReport> CompatibilityService::check(std::string_view model,
                                                        const CheckOptions& options) const {
  GOGRID_ASSIGN_OR_RETURN(const CheckedModel found, sources_.find(model));
  auto read = read_model(found.path);
  if (!read && read.error().code == ErrorCode::kUnsupported) {
    CompatibilityReport report{.model = found.name};
    report.never = std::move(read).error();
    return report;
  }
  if (!read) return std::unexpected(std::move(read).error());
  if (found.adapter) {
    GOGRID_RETURN_IF_ERROR(add_adapter(read->profile, read->file, found.adapter->path));
  }
  CompatibilityQuestion question{.disk = disk_for(sources_.slices, sources_.slice_capacity)};
  const auto& usual = sources_.usual;
  question.plan =
      question_for(found.name, read->profile, options.context ? options.context : usual.context,
                   options.parallel ? options.parallel : usual.parallel);
  question.plan.flash_attention = !sources_.deterministic;
  question.plan.quantize = sources_.quantize;
  question.plan.smaller =
      std::make_shared<const std::vector<SmallerLayers>>(smaller_layers(read->file, read->profile));
  return check_compatibility(read->profile, smaller_quantizations(read->file, read->profile),
                             checked_devices(found.digest), question);
}

}  // namespace gogrid

#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/json_output.h"
#include "device/device_registry.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Device& device) {
  const auto bytes = [](const std::optional<Bytes>& value) {
    return value ? Json(*value) : Json();
  };
  return {{"id", device.id},
          {"backend", device.backend},
          {"name", device.name},
          {"kind", name_of(device.kind)},
          {"memory_total", bytes(device.memory_total)},
          {"memory_free", bytes(device.memory_free)},
          {"cores", device.cores.empty() ? Json() : Json(device.cores)},
          {"notes", device.notes}};
}

void print_row(const Device& device) {
  const auto text = [](const std::optional<Bytes>& value) {
    return value ? format_bytes(*value) : std::string("unknown");
  };
  std::printf("%-10s %-6s %s: %s free of %s", device.id.c_str(),
              std::string(name_of(device.kind)).c_str(), device.name.c_str(),
              text(device.memory_free).c_str(), text(device.memory_total).c_str());
  if (!device.cores.empty())
    std::printf(", %zu core%s", device.cores.size(), device.cores.size() == 1 ? "" : "s");
  std::printf("\n");
  for (const std::string& note : device.notes) std::printf("           %s\n", note.c_str());
}

}  // namespace

Status devices_command(const DevicesCommand& command, const CommonOptions& common) {
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(const DeviceRegistry registry,
                          DeviceRegistry::detect(command.devices, clock));
  Json devices = Json::array();
  for (const Device& device : registry.devices()) {
    if (common.json)
      devices.push_back(json_of(device));
    else
      print_row(device);
  }
  if (common.json) print_json(Json{{"devices", devices}});
  return {};
}

}  // namespace gogrid

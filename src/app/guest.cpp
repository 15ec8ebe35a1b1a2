#include "app/guest.h"

#include <cstdlib>
#include <utility>

#include "obs/log.h"
#include "resource/local_zone.h"

namespace gogrid {
namespace {

// The watch has a thread of its own, and can wait for a slow driver. Below the window of a look
// (LoadMonitor::kWindow), so that the reading at its beginning is not taken for the one at its end.
constexpr Duration kGpuMaxAge = std::chrono::milliseconds(500);
constexpr Duration kGpuMaxWait = std::chrono::seconds(1);

// The owner's time zone; of this process's own environment.
Result<const std::chrono::time_zone*> zone_here() { return local_zone(std::getenv("TZ")); }

}  // namespace

std::unique_ptr<ProcessPriority> make_priority() {
  auto system = host_priority_system();
  if (system) return std::make_unique<ProcessPriority>(*std::move(system));
  log::warning("priority_not_set", {{"why", system.error().message}});
  return nullptr;
}

void warn_of(const PriorityReport& report) {
  for (const PriorityItem& item : report.items) {
    if (!item.warning.empty()) log::warning("priority_not_set", {{"why", item.warning}});
  }
  if (!report.warning.empty()) log::warning("priority_not_set", {{"why", report.warning}});
}

WatchSources watch_sources(HostLoadReader& host, Telemetry& gpus) {
  WatchSources sources{
      .load = {
          .host = [&host] { return host.read(); },
          .gpu_of_others = [&gpus] { return gpu_of_others(*gpus.read(kGpuMaxAge, kGpuMaxWait)); }},
      .wall_clock =
          [] { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); },
      .zone = zone_here};
  if (auto sessions = logind_sessions({}))
    sources.sessions = *std::move(sessions);
  else
    log::info("presence_not_watched", {{"why", sessions.error().message}});
  return sources;
}

}  // namespace gogrid

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/policies.h"
#include "app/terminal.h"
#include "device/device_registry.h"
#include "device/gpu_sources.h"
#include "device/telemetry.h"
#include "resource/autogroup.h"
#include "resource/io_scheduler.h"
#include "resource/local_zone.h"
#include "resource/process_priority.h"
#include "resource/session_watch.h"
#include "service/doctor.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

// Between two looks at the CPU's counters, which have ticks of 10 ms.
constexpr auto kLook = std::chrono::milliseconds(500);
// A driver that sleeps may take seconds to answer; in a server nobody would wait for it.
constexpr Duration kGpuWait = std::chrono::seconds(3);

template <class T>
Reading<T> reading_of(Result<T> result) {
  if (!result) return std::unexpected(result.error().message);
  return *std::move(result);
}

HostLoad host_load() {
  HostLoadReader host;
  host.read();
  std::this_thread::sleep_for(kLook);
  return host.read();
}

GpuReadings gpu_readings(const Clock& clock) {
  Telemetry gpus(make_gpu_sources(clock), clock);
  return *gpus.read(kGpuWait, kGpuWait);
}

Presence presence(const Clock& clock) {
  const auto unknown = [&](const Error& why) {
    return unknown_presence(why.message, {}, clock.now());
  };
  auto open = logind_sessions({});
  if (!open) return unknown(open.error());
  auto watch = (*open)();
  if (!watch) return unknown(watch.error());
  const auto sessions = (*watch)->sessions();
  if (!sessions) return unknown(sessions.error());
  return presence_of(*sessions, {}, clock.now());
}

// On this process itself, which ends soon: what could be set here can be set there.
void try_priority(const ResourcePolicy& policy, MachineFacts& facts) {
  auto system = host_priority_system();
  if (!system) {
    facts.lowered = std::unexpected(system.error().message);
    facts.restored = facts.lowered;
    return;
  }
  ProcessPriority priority(*std::move(system));
  facts.lowered = priority.apply(priority_of(policy));
  facts.restored = priority.restore();
}

Reading<std::string> zone_name() {
  const auto zone = local_zone(std::getenv("TZ"));
  if (!zone) return std::unexpected(zone.error().message);
  return std::string((*zone)->name());
}

MachineFacts look(std::vector<Device> devices, const ResourcePolicy& policy,
                  const Workspace& workspace, const Clock& clock) {
  ProgressLine line("looking at this machine");
  line.show();
  MachineFacts facts;
  facts.devices = std::move(devices);
  facts.host = host_load();
  facts.gpus = gpu_readings(clock);
  facts.presence = presence(clock);
  facts.nice_in_session_only = nice_counts_in_session_only();
  facts.io_scheduler = io_scheduler_of(workspace.policy_file().parent_path());
  facts.time_zone = zone_name();
  try_priority(policy, facts);  // last: what comes after would be slow
  return facts;
}

Json json_of(const Finding& finding) {
  const auto text = [](const std::string& value) { return value.empty() ? Json() : Json(value); };
  return {{"name", finding.name},          {"of", text(finding.of)},
          {"kind", name_of(finding.kind)}, {"holds", name_of(finding.holds)},
          {"what", finding.what},          {"advice", text(finding.advice)}};
}

void print_json(const ResourcePolicy& policy, const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) list.push_back(json_of(finding));
  const Json json{
      {"mode", name_of(policy.mode)}, {"all_hold", all_hold(findings)}, {"findings", list}};
  gogrid::print_json(json);
}

// "  partly  nice                   15, read back from every thread; but ...".
void print_text(const ResourcePolicy& policy, const std::vector<Finding>& findings) {
  std::printf("The %s mode on this machine: %s\n\n", std::string(name_of(policy.mode)).c_str(),
              all_hold(findings) ? "all that is wanted holds" : "not all that is wanted holds");
  for (const Finding& finding : findings) {
    const std::string name = finding.name + (finding.of.empty() ? "" : " of " + finding.of);
    std::printf("  %-7s %-26s %s\n", std::string(name_of(finding.holds)).c_str(), name.c_str(),
                finding.what.c_str());
    if (!finding.advice.empty())
      std::printf("  %-7s %-26s do: %s\n", "", "", finding.advice.c_str());
  }
}

}  // namespace

Status doctor_command(const DoctorCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Config config, config_of(command.policy));
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  GOGRID_ASSIGN_OR_RETURN(const auto policies, open_policies(config, workspace));
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(
      const DeviceRegistry registry,
      DeviceRegistry::detect(command.devices.empty() ? config.devices : command.devices, clock));
  const ResourcePolicy policy = *policies->current();
  const auto findings = diagnose(policy, look(registry.devices(), policy, workspace, clock));
  if (common.json)
    print_json(policy, findings);
  else
    print_text(policy, findings);
  return {};
}

}  // namespace gogrid

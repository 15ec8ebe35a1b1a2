#include "http/resources_json.h"

#include <chrono>
#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const GateCounts& gate) {
  return {{"seen", gate.seen},
          {"granted", gate.granted},
          {"delayed", gate.delayed},
          {"refused", gate.refused},
          {"waiting", gate.waiting}};
}

Json json_of(const DeviceMemory& memory) {
  Json holders = Json::array();
  for (const MemoryHolder& holder : memory.holders) {
    holders.push_back(
        {{"use", name_of(holder.use)}, {"holder", holder.holder}, {"bytes", holder.bytes}});
  }
  return {{"device", memory.device},
          {"cap", memory.cap},
          {"held", memory.held},
          {"holders", std::move(holders)}};
}

Json json_of(const DutyReport& duty) {
  return {{"device", duty.device},
          {"model", duty.model},
          {"layers", {duty.layers.first, duty.layers.last}},
          {"max_compute", duty.allowed.number()},
          {"busy_s", std::chrono::duration<double>(duty.busy).count()}};
}

Json share_of(const Reading<Share>& share) { return share ? Json(share->number()) : Json(); }

// What others use; `unknown` says why a figure is null.
Json json_of(const LoadView& view) {
  const HostLoad& host = view.host;
  Json pressure = Json::object();
  for (std::size_t i = 0; i < kPressures.size(); ++i) {
    const auto& stall = host.pressure[i];
    pressure[std::string(name_of(kPressures[i]))] =
        stall ? Json(stall->some.avg10.number()) : Json();
  }
  return {{"state", view.decision.state == LoadState::kPaused ? "paused" : "running"},
          {"why", view.decision.why},
          {"cpu_of_others", host.cpu ? Json(host.cpu->others.number()) : Json()},
          {"cpu_own", host.cpu ? Json(host.cpu->own.number()) : Json()},
          {"gpu_of_others", share_of(view.gpu_of_others)},
          {"memory_of_others", share_of(host.memory_of_others)},
          {"pressure", std::move(pressure)},
          {"on_battery", host.power ? Json(host.power->on_battery) : Json()},
          {"throttled", host.heat ? Json(host.heat->throttled) : Json()},
          {"unknown", view.decision.unknown}};
}

Json json_of(const PriorityReport& priority) {
  Json wanted = Json::object();
  Json in_force = Json::object();
  Json warnings = Json::array();
  for (const PriorityItem& item : priority.items) {
    const std::string name(item.name);
    wanted[name] = item.wanted.empty() ? Json() : Json(item.wanted);
    in_force[name] = item.in_force;
    if (!item.warning.empty()) warnings.push_back(item.warning);
  }
  if (!priority.warning.empty()) warnings.push_back(priority.warning);
  return {{"wanted", std::move(wanted)},
          {"in_force", std::move(in_force)},
          {"as_wanted", priority.as_wanted()},
          {"warnings", std::move(warnings)}};
}

template <class T>
Json array_of(const std::vector<T>& values) {
  Json array = Json::array();
  for (const T& value : values) array.push_back(json_of(value));
  return array;
}

}  // namespace

std::string resources_json(const ResourceReport& report) {
  const Json json{{"gate", report.gate ? json_of(*report.gate) : Json()},
                  {"ledger", array_of(report.ledger)},
                  {"duty", array_of(report.duty)},
                  {"load", report.load ? json_of(*report.load) : Json()},
                  {"priority", report.priority ? json_of(*report.priority) : Json()}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace gogrid

// What of a policy holds on this machine, what does not and why, and what to do about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"
#include "device/telemetry.h"
#include "resource/host_load.h"
#include "resource/presence.h"
#include "resource/process_priority.h"
#include "resource/resource_policy.h"

namespace gogrid {

// How a limit is kept: the process cannot cross it, or it looks, and acts on what it sees.
enum class LimitKind : std::uint8_t { kEnforced, kMeasured };
std::string_view name_of(LimitKind kind);  // "enforced", "measured"

enum class Holds : std::uint8_t {
  kYes,
  kPartly,  // in force, and something of this machine weakens it
  kNo,
  kUnused,  // the policy does not want it, or this machine has nothing that it is about
};
std::string_view name_of(Holds holds);  // "yes", "partly", "no", "unused"

struct Finding {
  std::string name = {};  // of the policy, or "priority.NAME", "presence", "quiet_hours"
  std::string of = {};    // a device or GPU; empty: of the whole
  LimitKind kind = LimitKind::kEnforced;
  Holds holds = Holds::kYes;
  std::string what = {};    // what was found, for people
  std::string advice = {};  // what to do; empty: nothing, or nothing can be done
};

// All that was looked at.
struct MachineFacts {
  std::vector<Device> devices;
  // The policy's priority, as it was tried on this process; an error: the system is none we know.
  Reading<PriorityReport> lowered;
  // Back to what was found, afterwards; as `lowered`.
  Reading<PriorityReport> restored;
  Reading<bool> nice_in_session_only = false;
  Reading<std::string> io_scheduler;  // of the data folder's disk
  HostLoad host;
  GpuReadings gpus;
  Presence presence;
  Reading<std::string> time_zone;
};

// In the order of the policy's names. Pure.
std::vector<Finding> diagnose(const ResourcePolicy& policy, const MachineFacts& facts);

// Whether nothing that is wanted fails to hold in whole or part.
bool all_hold(const std::vector<Finding>& findings);

}  // namespace gogrid

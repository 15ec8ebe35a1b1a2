// What makes this process a guest on its machine: its priority, and what it watches.
#pragma once

#include <memory>

#include "device/telemetry.h"
#include "resource/host_load.h"
#include "resource/machine_watch.h"
#include "resource/process_priority.h"

namespace gogrid {

// Null where the system is none that we know, which is said once.
std::unique_ptr<ProcessPriority> make_priority();
// To the log.
void warn_of(const PriorityReport& report);
// Both must outlive the watch.
WatchSources watch_sources(HostLoadReader& host, Telemetry& gpus);

}  // namespace gogrid

// What /admin/v1/resources says: of each limit, what is wanted and what is in force.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device_registry.h"
#include "engine/engine_registry.h"
#include "obs/metrics.h"
#include "resource/load_monitor.h"
#include "resource/memory_ledger.h"
#include "resource/policy_store.h"
#include "resource/process_priority.h"
#include "resource/rate_gate.h"

namespace gogrid {

// One stage's share of its device's time.
struct DutyReport {
  std::string device;
  std::string model;
  LayerRange layers;
  Share allowed;
  Duration busy{};  // computing, since the stage was loaded
};

struct ResourceReport {
  std::optional<GateCounts> gate;
  std::vector<DeviceMemory> ledger;
  std::vector<DutyReport> duty;
  std::shared_ptr<const LoadView> load;  // null: nothing was looked at yet
  std::optional<PriorityReport> priority;
};

// What there is to ask. All outlive the service; null or empty: the report has nothing of it.
struct ResourceSources {
  const PolicyStore* policies = nullptr;    // never null
  const EngineRegistry* engines = nullptr;  // never null
  const RateGate* gate = nullptr;
  const MemoryLedger* ledger = nullptr;
  const DeviceRegistry* devices = nullptr;  // for what is used of their memory
  ProcessPriority* priority = nullptr;
  std::function<std::shared_ptr<const LoadView>()> load = {};
};

// Thread-safe.
class ResourceService {
 public:
  explicit ResourceService(ResourceSources sources) : sources_(std::move(sources)) {}
  // Reads the priority of every thread: a fraction of a millisecond, and the kernel's files.
  ResourceReport report() const;
  // What is leased, and what is really used.
  void export_memory(Metrics& metrics) const;

 private:
  const ResourceSources sources_;
};

}  // namespace gogrid

// Shares of a GPU's time, from the counters of its clients at two looks.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "device/drm_clients.h"
#include "device/gpu_reading.h"

namespace gogrid {

// Each is that of the busiest engine (drawing, computing, copying, video), at most the whole.
struct DrmUse {
  Share own;
  Share others;     // of those that could be seen
  Share everybody;  // likewise
};

// Not thread-safe.
class DrmUsage {
 public:
  // Looks closer together than this say little: the last answer stands, and the next look counts
  // from the same start. (Drivers move their counters when a job ends.)
  static constexpr Duration kShortest = std::chrono::milliseconds(50);

  // The use of the GPU at `pci_address` between the look before this one and this one. Empty until
  // there are two. A client that was not there before counts from now on.
  void look(const DrmScan& scan, TimePoint now);
  std::optional<DrmUse> use_of(const std::string& pci_address) const;

 private:
  using Key = std::tuple<std::string, std::string, std::uint64_t>;  // driver, address, id

  std::map<Key, DrmClient> before_;
  std::optional<TimePoint> taken_;
  bool known_ = false;  // two looks were taken
  std::map<std::string, DrmUse> uses_;
};

// How much of the time between two looks an engine worked for a client: by time, or else by cycles.
// 0 where a counter is missing or ran backwards (the client's number was given to another).
Share engine_share(const DrmEngine& before, const DrmEngine& now, Duration between);

}  // namespace gogrid

// What the kernel tells of one open GPU file: "DRM client usage stats", as
// https://docs.kernel.org/gpu/drm-usage-stats.html states it.
//
//   drm-driver:     amdgpu
//   drm-pdev:       0000:03:00.0
//   drm-client-id:  23
//   drm-engine-gfx: 1234567890 ns            time the engine worked for this client
//   drm-cycles-rcs: 28257900                 or the same in cycles,
//   drm-total-cycles-rcs: 7655183225         of so many
//   drm-engine-capacity-vcs: 2               engines of that name
//   drm-resident-vram0: 23992 KiB            memory, by region (older kernels: drm-memory-vram)
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace gogrid {

// Counters since the client began; the difference of two looks is the use between them.
struct DrmEngine {
  std::optional<std::uint64_t> busy_ns;
  std::optional<std::uint64_t> cycles;
  std::optional<std::uint64_t> total_cycles;
  std::uint64_t capacity = 1;
};

struct DrmClient {
  std::string driver;       // "amdgpu", "i915", "xe"
  std::string pci_address;  // empty: not on PCI, or not told
  std::uint64_t id = 0;     // the same for duplicates of one open file
  std::map<std::string, DrmEngine> engines;
  std::map<std::string, Bytes> resident;  // by region: "vram", "gtt", "system0"

  // Held in the GPU's own memory; empty when no region of that kind is told.
  std::optional<Bytes> device_memory() const;
};

// Empty when it is no DRM file, or tells no client's id (nothing could be counted once). Lines that
// are not as the documentation says are passed over; at most kMaxDrmKeys engines and regions are
// kept.
inline constexpr std::size_t kMaxDrmKeys = 64;
std::optional<DrmClient> parse_drm_fdinfo(std::string_view text);

}  // namespace gogrid

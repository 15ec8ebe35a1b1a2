// Any bytes at all, as two looks at the files of two processes: what is read is bounded, and the
// shares computed from it are shares.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "device/drm_usage.h"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "drm_fdinfo_fuzz: %s\n", what);
  std::abort();
}

gogrid::DrmScan scan_of(std::string_view text, std::size_t cut) {
  gogrid::DrmScan scan;
  for (const std::string_view part : {text.substr(0, cut), text.substr(cut)}) {
    auto client = gogrid::parse_drm_fdinfo(part);
    if (!client) continue;
    require(client->engines.size() <= gogrid::kMaxDrmKeys, "engines are bounded");
    require(client->resident.size() <= gogrid::kMaxDrmKeys, "regions are bounded");
    for (const auto& [name, engine] : client->engines) {
      require(!name.empty() && engine.capacity > 0, "an engine has a name and a capacity");
    }
    client->device_memory();
    scan.users.push_back({*std::move(client), scan.users.empty()});
  }
  return scan;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  gogrid::DrmUsage usage;
  usage.look(scan_of(text, size / 2), gogrid::TimePoint());
  const gogrid::DrmScan scan = scan_of(text, size / 4);
  usage.look(scan, gogrid::TimePoint(std::chrono::seconds(1)));
  for (const gogrid::DrmUser& user : scan.users) {
    const auto use = usage.use_of(user.client.pci_address);
    require(use.has_value(), "two looks tell something");
    require(use->everybody.millionths() <= gogrid::Share::kWhole, "no more than the whole");
    require(use->own <= use->everybody && use->others <= use->everybody, "parts of everybody's");
  }
  return 0;
}

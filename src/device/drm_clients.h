// Who has a GPU open, by /proc.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "device/drm_fdinfo.h"

namespace gogrid {

struct DrmUser {
  DrmClient client;
  bool own = false;
};

struct DrmScan {
  std::vector<DrmUser> users;  // each client once, whoever shares its file
  // Processes of others that may not be looked into, or were too many: what they do is not known.
  // Kernel threads are not among them.
  std::size_t hidden = 0;
  // False: /proc does not show every process (a container, hidepid), and nobody knows how many.
  bool shows_all = true;
  // Open files of AMD's compute driver, whose work the fdinfo of the graphics driver leaves out.
  bool own_uses_kfd = false;
  bool others_use_kfd = false;

  bool complete() const { return shows_all && hidden == 0; }
};

// Looks at the open files of every process: 10 to 50 ms on a desktop. `root` is prefixed to /proc.
// Every file and every list is read to a bound. Thread-safe.
DrmScan scan_drm_clients(const std::filesystem::path& root, unsigned own_pid);

}  // namespace gogrid

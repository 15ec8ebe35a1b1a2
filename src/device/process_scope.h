// Which processes of the machine this one can see, and under which numbers.
#pragma once

#include <filesystem>

namespace gogrid {

// Whether process ids here are the machine's own: false inside a container that has its own, where
// a driver that tells the host's cannot be understood. `root` is prefixed to /proc, for tests.
bool has_host_process_ids(const std::filesystem::path& root = "/");

// Whether /proc shows everybody's processes: not in a container, nor where it is mounted to hide
// those of others (hidepid, systemd's ProtectProc).
bool sees_all_processes(const std::filesystem::path& root = "/");

}  // namespace gogrid

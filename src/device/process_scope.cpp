#include "device/process_scope.h"

#include <system_error>

namespace gogrid {
namespace fs = std::filesystem;

// The kernel's first namespace of process ids has this inode ever since namespaces have any
// (PROC_PID_INIT_INO, 0xEFFFFFFC).
constexpr const char* kFirstNamespace = "pid:[4026531836]";

bool has_host_process_ids(const fs::path& root) {
  std::error_code error;
  return fs::read_symlink(root / "proc/self/ns/pid", error) == kFirstNamespace;
}

bool sees_all_processes(const fs::path& root) {
  std::error_code error;
  // Process 1 is somebody else's for every service, and there as long as the machine runs.
  return has_host_process_ids(root) && fs::exists(root / "proc/1/stat", error);
}

}  // namespace gogrid

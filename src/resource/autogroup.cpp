#include "resource/autogroup.h"

#include <string>
#include <system_error>

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSwitchBytes = 64;
constexpr std::size_t kGroupBytes = 16 * 1024;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Version 2: a group with the controller has the file; the machine's topmost group never has. The
// nearest one above holds for what is below.
bool is_weighted(const fs::path& mount, std::string_view path) {
  fs::path group = fs::path(path).relative_path().lexically_normal();
  if (!group.empty() && *group.begin() == "..") group.clear();  // of another namespace
  for (; !group.empty(); group = group.parent_path()) {
    if (is_there(mount / group / "cpu.weight")) return true;
  }
  return is_there(mount / "cpu.weight");
}

// "id:controllers:path"; version 2 has no controllers, version 1 "cpu" or "cpu,cpuacct".
bool divides_cpu(const fs::path& root, std::string_view line) {
  const std::size_t first = line.find(':');
  if (first == line.npos) return false;
  const std::size_t second = line.find(':', first + 1);
  if (second == line.npos) return false;
  const std::string controllers =
      "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
  const std::string_view path = line.substr(second + 1);
  if (controllers == ",,") return is_weighted(root / "sys/fs/cgroup", path);
  return controllers.contains(",cpu,") && path != "/";
}

}  // namespace

Reading<bool> nice_counts_in_session_only(const fs::path& root) {
  const auto enabled = read_text(root / "proc/sys/kernel/sched_autogroup_enabled", kSwitchBytes);
  if (!enabled || trimmed(*enabled) == "0") return false;  // absent: the kernel has none
  // "/autogroup-124 nice 0"; empty: this process is in none.
  const auto group = read_text(root / "proc/self/autogroup", kSwitchBytes);
  if (!group) return not_known("autogroup", group.error());
  if (trimmed(*group).empty()) return false;
  const auto groups = read_text(root / "proc/self/cgroup", kGroupBytes);
  if (!groups) return true;  // a kernel without control groups
  std::string_view rest = *groups;
  while (!rest.empty()) {
    if (divides_cpu(root, next_line(rest))) return false;
  }
  return true;
}

}  // namespace gogrid

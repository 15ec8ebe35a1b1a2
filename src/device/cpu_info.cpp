#include "device/cpu_info.h"

#include <sched.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "base/files.h"
#include "base/text.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxCores = 4096;
constexpr Bytes kMaxProcFile = 1 * kMiB;
// cgroup v1 says "no limit" as the largest multiple of the page size; nothing real is near it.
constexpr Bytes kNoLimit = Bytes{1} << 60;

std::string text_of(const fs::path& path) {
  auto text = read_file(path, kMaxProcFile);
  return text ? *std::move(text) : std::string();
}

// "16 kB", "4096": without its unit. "max" is no number.
std::optional<Bytes> number(std::string_view text) { return parse_number(next_word(text)); }

// The number after `key` at the start of a line: "MemTotal:  16 kB", "inactive_file 4096".
std::optional<Bytes> field(std::string_view text, std::string_view key) {
  const auto value = field_of(text, key);
  return value ? number(*value) : std::nullopt;
}

MemoryReading machine_memory(const fs::path& root) {
  const std::string text = text_of(root / "proc/meminfo");
  const auto kib = [](std::optional<Bytes> value) {
    return value ? checked_mul(*value, kKiB) : std::nullopt;
  };
  return {.total = kib(field(text, "MemTotal:")), .free = kib(field(text, "MemAvailable:"))};
}

// Files that one level of a control group's tree keeps.
struct GroupFiles {
  std::string_view limit;
  std::string_view usage;
  std::string_view reclaimable;  // of memory.stat: file pages the kernel gives back when asked
};
constexpr GroupFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file "};
constexpr GroupFiles kVersion2{"memory.max", "memory.current", "inactive_file "};

void narrow(std::optional<Bytes>& value, Bytes limit) {
  value = std::min(value.value_or(limit), limit);
}

void narrow_to_group(const fs::path& folder, const GroupFiles& files, MemoryReading& reading) {
  const auto limit = number(text_of(folder / files.limit));  // "max" is no number
  if (!limit || *limit >= kNoLimit) return;
  narrow(reading.total, *limit);
  const auto usage = number(text_of(folder / files.usage));
  if (!usage) return;
  const Bytes reclaimable = field(text_of(folder / "memory.stat"), files.reclaimable).value_or(0);
  const Bytes held = *usage - std::min(*usage, reclaimable);
  narrow(reading.free, *limit - std::min(*limit, held));
}

// A limit anywhere above holds for all below. `path` is as /proc/self/cgroup has it; inside a
// container it may name a folder that only the host sees: then the mount's top is our own group.
void narrow_to_groups(const fs::path& mount, std::string_view path, const GroupFiles& files,
                      MemoryReading& reading) {
  fs::path relative = fs::path(path).relative_path().lexically_normal();
  while (!relative.empty() && *relative.begin() != "..") {
    narrow_to_group(mount / relative, files, reading);
    relative = relative.parent_path();
  }
  narrow_to_group(mount, files, reading);
}

}  // namespace

std::vector<int> usable_cores() {
  const std::size_t bytes = CPU_ALLOC_SIZE(kMaxCores);
  const auto release = [](cpu_set_t* set) { CPU_FREE(set); };
  const std::unique_ptr<cpu_set_t, decltype(release)> set(CPU_ALLOC(kMaxCores), release);
  std::vector<int> cores;
  if (set != nullptr && sched_getaffinity(0, bytes, set.get()) == 0) {
    for (int core = 0; core < kMaxCores; ++core) {
      if (CPU_ISSET_S(static_cast<std::size_t>(core), bytes, set.get())) cores.push_back(core);
    }
  }
  if (cores.empty()) cores.push_back(std::max(0, sched_getcpu()));
  return cores;
}

MemoryReading read_host_memory(const fs::path& root) {
  MemoryReading reading = machine_memory(root);
  const std::string groups = text_of(root / "proc/self/cgroup");  // lines "id:controllers:path"
  std::string_view rest = groups;
  while (!rest.empty()) {
    const std::string_view line = next_line(rest);
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', std::min(first, line.size() - 1) + 1);
    if (line.empty() || first == line.npos || second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (controllers.empty()) {
      narrow_to_groups(root / "sys/fs/cgroup", path, kVersion2, reading);
    } else if (controllers == "memory") {
      narrow_to_groups(root / "sys/fs/cgroup/memory", path, kVersion1, reading);
    }
  }
  return reading;
}

}  // namespace gogrid

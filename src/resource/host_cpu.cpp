#include "resource/host_cpu.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <system_error>
#include <vector>

namespace gogrid {
namespace {

namespace fs = std::filesystem;

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kMostTicks = std::uint64_t{1} << 60;
constexpr std::uint64_t kFewestTicks = 10;
constexpr std::uint64_t kMicrosecondsPerSecond = 1'000'000;
constexpr std::size_t kStatBytes = 1024;  // of /proc/stat, whose first line is short
constexpr std::size_t kProcessStatBytes = 4096;
constexpr std::size_t kGroupBytes = 16 * 1024;
// GoGrid starts no processes; a library or a debugger may. More than these are not followed.
constexpr std::size_t kMostProcesses = 64;
constexpr std::size_t kMostThreads = 4096;

// Fields of /proc/PID/stat after the name, which is field 2; utime is field 14.
constexpr int kFirstAfterName = 3;
constexpr int kUserTime = 14;
constexpr int kLastTime = 17;  // user, system, children's user, children's system

std::optional<std::uint64_t> ticks(std::string_view word) {
  const auto number = parse_number(word);
  return number && *number <= kMostTicks ? number : std::nullopt;
}

std::optional<std::uint64_t> grown(std::uint64_t before, std::uint64_t after) {
  return after >= before ? std::optional(after - before) : std::nullopt;
}

std::uint64_t grown_or_none(std::uint64_t before, std::uint64_t after) {
  return after >= before ? after - before : 0;
}

// What grew between two looks.
struct MachineTime {
  std::uint64_t busy = 0;
  std::uint64_t idle = 0;
};

std::optional<MachineTime> machine_time(const MachineCpu& before, const MachineCpu& after) {
  constexpr std::array kBusy{&MachineCpu::user, &MachineCpu::nice, &MachineCpu::system,
                             &MachineCpu::interrupts, &MachineCpu::soft_interrupts};
  MachineTime time;
  for (const auto field : kBusy) {
    const auto ticks = grown(before.*field, after.*field);
    if (!ticks) return std::nullopt;
    time.busy += *ticks;
  }
  time.idle = grown_or_none(before.idle, after.idle) + grown_or_none(before.io_wait, after.io_wait);
  return time;
}

// Appends the children of `process`, by each of its threads. A kernel without CONFIG_PROC_CHILDREN
// has no such files: then the process is alone.
void append_children(const fs::path& process, std::vector<std::uint64_t>& processes) {
  std::error_code error;
  fs::directory_iterator tasks(process / "task", error);
  std::size_t seen = 0;
  for (; !error && tasks != fs::directory_iterator(); tasks.increment(error)) {
    if (++seen > kMostThreads) return;
    const auto text = read_text(tasks->path() / "children", kProcessStatBytes);
    if (!text) continue;
    std::string_view rest = *text;
    for (auto word = next_word(rest); !word.empty(); word = next_word(rest)) {
      const auto id = parse_number(word);
      const bool is_new = id && std::ranges::find(processes, *id) == processes.end();
      if (is_new && processes.size() < kMostProcesses) processes.push_back(*id);
    }
  }
}

fs::path folder_of(const fs::path& root, std::uint64_t process) {
  return root / "proc" / std::to_string(process);
}

// This process first, then its descendants.
Reading<std::vector<std::uint64_t>> own_processes(const fs::path& root) {
  const auto text = read_text(root / "proc/self/stat", kProcessStatBytes);
  if (!text) return std::unexpected(text.error());
  std::string_view rest = *text;
  const auto self = parse_number(next_word(rest));
  if (!self) return not_known("own CPU time", "expected a number of a process: " + excerpt(*text));
  std::vector<std::uint64_t> processes{*self};
  for (std::size_t i = 0; i < processes.size(); ++i) {
    append_children(folder_of(root, processes[i]), processes);
  }
  return processes;
}

// Where this process's control group of version 2 is; empty where there is none.
std::optional<fs::path> own_group(const fs::path& root) {
  const auto text = read_text(root / "proc/self/cgroup", kGroupBytes);
  if (!text) return std::nullopt;
  const auto path = field_of(*text, "0::/");
  if (!path || path->find("..") != path->npos) return std::nullopt;  // of another namespace
  return root / "sys/fs/cgroup" / *path;
}

bool holds_only(const fs::path& group, const std::vector<std::uint64_t>& processes) {
  const auto below = read_text(group / "cgroup.stat", kGroupBytes);
  if (!below || field_of(*below, "nr_descendants ") != "0") return false;
  const auto members = read_text(group / "cgroup.procs", kGroupBytes);
  if (!members || members->size() == kGroupBytes) return false;
  std::string_view rest = *members;
  for (auto word = next_word(rest); !word.empty(); word = next_word(rest)) {
    const auto id = parse_number(word);
    if (!id || std::ranges::find(processes, *id) == processes.end()) return false;
  }
  return !members->empty();
}

Reading<OwnCpu> read_group_cpu(const fs::path& group) {
  const auto text = read_text(group / "cpu.stat", kGroupBytes);
  if (!text) return std::unexpected(text.error());
  const auto microseconds = parse_group_cpu(*text);
  if (!microseconds) return std::unexpected(microseconds.error());
  return OwnCpu{OwnCpu::Source::kControlGroup, *microseconds};
}

Reading<OwnCpu> read_process_cpu(const fs::path& root, const std::vector<std::uint64_t>& processes,
                                 std::uint64_t ticks_per_second) {
  std::uint64_t ticks = 0;
  for (const std::uint64_t process : processes) {
    const auto text = read_text(folder_of(root, process) / "stat", kProcessStatBytes);
    const bool is_self = process == processes.front();
    if (!text && is_self) return std::unexpected(text.error());
    if (!text) continue;  // a child that has ended meanwhile
    const auto used = parse_process_cpu(*text);
    if (!used) return std::unexpected(used.error());
    ticks += *used;
  }
  const Wide microseconds = static_cast<Wide>(ticks) * kMicrosecondsPerSecond / ticks_per_second;
  return OwnCpu{OwnCpu::Source::kProcesses, static_cast<std::uint64_t>(microseconds)};
}

}  // namespace

Reading<MachineCpu> parse_machine_cpu(std::string_view proc_stat) {
  constexpr std::array kFields{&MachineCpu::user,
                               &MachineCpu::nice,
                               &MachineCpu::system,
                               &MachineCpu::idle,
                               &MachineCpu::io_wait,
                               &MachineCpu::interrupts,
                               &MachineCpu::soft_interrupts,
                               &MachineCpu::steal};
  constexpr std::size_t kLeast = 4;  // what the oldest kernels have
  std::string_view rest = proc_stat;
  std::string_view line = next_line(rest);
  if (next_word(line) != "cpu") {
    return not_known("CPU time", "expected \"cpu\" and its ticks: " + excerpt(proc_stat));
  }
  MachineCpu cpu;
  for (std::size_t i = 0; i < kFields.size(); ++i) {
    const std::string_view word = next_word(line);
    if (word.empty() && i >= kLeast) break;
    const auto number = ticks(word);
    if (!number) return not_known("CPU time", "expected ticks: " + excerpt(word));
    cpu.*kFields[i] = *number;
  }
  return cpu;
}

Reading<std::uint64_t> parse_process_cpu(std::string_view proc_pid_stat) {
  const std::size_t name_end = proc_pid_stat.rfind(')');
  if (name_end == proc_pid_stat.npos) {
    return not_known("own CPU time", "expected a process's name: " + excerpt(proc_pid_stat));
  }
  std::string_view rest = proc_pid_stat.substr(name_end + 1);
  for (int field = kFirstAfterName; field < kUserTime; ++field) next_word(rest);
  std::uint64_t sum = 0;
  for (int field = kUserTime; field <= kLastTime; ++field) {
    const std::string_view word = next_word(rest);
    const auto number = ticks(word);
    if (!number) return not_known("own CPU time", "expected ticks: " + excerpt(word));
    sum += *number;
  }
  return sum;
}

Reading<std::uint64_t> parse_group_cpu(std::string_view cpu_stat) {
  const auto text = field_of(cpu_stat, "usage_usec ");
  const auto number = text ? ticks(*text) : std::nullopt;
  if (!number) {
    return not_known("own CPU time", "expected usage_usec: " + excerpt(text.value_or(cpu_stat)));
  }
  return *number;
}

Reading<MachineCpu> read_machine_cpu(const fs::path& root) {
  const auto text = read_text(root / "proc/stat", kStatBytes);
  return text ? parse_machine_cpu(*text) : std::unexpected(text.error());
}

Reading<OwnCpu> read_own_cpu(const fs::path& root, std::uint64_t ticks_per_second) {
  const auto processes = own_processes(root);
  if (!processes) return std::unexpected(processes.error());
  if (const auto group = own_group(root); group && holds_only(*group, *processes)) {
    if (auto cpu = read_group_cpu(*group)) return cpu;
  }
  return read_process_cpu(root, *processes, ticks_per_second);
}

Reading<CpuLoad> cpu_between(const MachineCpu& before, const MachineCpu& after,
                             const OwnCpu& own_before, const OwnCpu& own_after,
                             std::uint64_t ticks_per_second) {
  if (own_before.source != own_after.source) {
    return not_known("CPU",
                     "own time was counted by process before and by control group now, or "
                     "the reverse");
  }
  const auto machine = machine_time(before, after);
  const auto own = grown(own_before.microseconds, own_after.microseconds);
  if (!machine || !own) return not_known("CPU", "a counter ran backwards");
  const std::uint64_t capacity = machine->busy + machine->idle;
  if (capacity < kFewestTicks) {
    return not_known("CPU", "expected at least " + std::to_string(kFewestTicks) +
                                " ticks between two looks: " + std::to_string(capacity));
  }
  const Wide busy = static_cast<Wide>(machine->busy) * kMicrosecondsPerSecond;
  const Wide whole = static_cast<Wide>(capacity) * kMicrosecondsPerSecond;
  const Wide used = static_cast<Wide>(*own) * ticks_per_second;
  return CpuLoad{.others = Share::part_of(busy - std::min(busy, used), whole),
                 .own = Share::part_of(used, whole)};
}

std::uint64_t ticks_per_second() {
  const long ticks = ::sysconf(_SC_CLK_TCK);
  return ticks > 0 ? static_cast<std::uint64_t>(ticks) : 100;
}

}  // namespace gogrid

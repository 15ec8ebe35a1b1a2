// CPU time: of the machine, of this process, and so of everybody else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/share.h"
#include "resource/host_text.h"

namespace gogrid {

// The first line of /proc/stat, proc_stat(5): clock ticks of all cores together since the start.
struct MachineCpu {
  std::uint64_t user = 0;  // guest included: virtual machines run here are load like any other
  std::uint64_t nice = 0;  // guest_nice included
  std::uint64_t system = 0;
  std::uint64_t idle = 0;
  std::uint64_t io_wait = 0;  // idle while a disk is waited for: a core that is free to be used
  std::uint64_t interrupts = 0;
  std::uint64_t soft_interrupts = 0;
  // Taken by the host of this virtual machine: neither used here, nor there to be used.
  std::uint64_t steal = 0;
  bool operator==(const MachineCpu&) const = default;
};

// Unknown where the line is not the kernel's. Figures above 2^60 are not: no machine is that old.
Reading<MachineCpu> parse_machine_cpu(std::string_view proc_stat);

// Used by this process and its children since they began.
struct OwnCpu {
  enum class Source : std::uint8_t {
    kControlGroup,  // its own: exact, also of children that are gone
    kProcesses,     // of /proc, in ticks of 10 ms
  };
  Source source = Source::kProcesses;
  std::uint64_t microseconds = 0;
  bool operator==(const OwnCpu&) const = default;
};

// /proc/PID/stat: ticks in user and kernel mode of all threads, those that have ended and children
// that were waited for included. The name in it may hold anything.
Reading<std::uint64_t> parse_process_cpu(std::string_view proc_pid_stat);

// `usage_usec` of a control group's cpu.stat.
Reading<std::uint64_t> parse_group_cpu(std::string_view cpu_stat);

// `root` is prefixed to /proc and /sys.
Reading<MachineCpu> read_machine_cpu(const std::filesystem::path& root);
// From the control group (version 2) when nobody else is in it or below it, else from /proc.
Reading<OwnCpu> read_own_cpu(const std::filesystem::path& root, std::uint64_t ticks_per_second);

struct CpuLoad {
  Share others;  // (busy - own) / capacity
  Share own;
};

// What happened between two looks. Busy is user, nice, system and both interrupts; capacity is busy
// and idle time, without what was stolen: a machine that gets half of its time is full at half.
//
// The kernel counts the machine by samples and the process exactly, so own may exceed busy by
// little: then others is none. Idle and I/O wait may run backwards by little (proc_stat(5)) and
// count as standing still. Unknown where another counter ran backwards (the machine was suspended
// or migrated, a child is gone), where own time was counted from different sources, or where the
// looks are less than 10 ticks apart: too coarse a measure.
Reading<CpuLoad> cpu_between(const MachineCpu& before, const MachineCpu& after,
                             const OwnCpu& own_before, const OwnCpu& own_after,
                             std::uint64_t ticks_per_second);

// The kernel's USER_HZ, in which it writes ticks.
std::uint64_t ticks_per_second();

}  // namespace gogrid

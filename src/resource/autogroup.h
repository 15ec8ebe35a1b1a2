// Whether nice values count for the whole machine, or only among the programs of one session.
#pragma once

#include <filesystem>

#include "resource/host_text.h"

namespace gogrid {

// True where the kernel puts each session into a group of its own (sched_autogroup_enabled,
// sched(7)), all of which share the CPU alike: then a program at nice 19 in one session takes as
// much as one at nice 0 in another, and SCHED_IDLE does not help. Not so for a program in a control
// group that divides the CPU: there the group's weight counts. So a desktop's owner is spared by a
// systemd service with CPUWeight=, or where autogroups are off.
//
// `root` is prefixed to /proc and /sys.
Reading<bool> nice_counts_in_session_only(const std::filesystem::path& root = "/");

}  // namespace gogrid

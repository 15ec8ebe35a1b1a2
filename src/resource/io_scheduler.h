// What schedules the requests of a disk: only some of these heed the I/O class of a thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "resource/host_text.h"

namespace gogrid {

// "none [mq-deadline] bfq" -> "mq-deadline": the one in brackets, as /sys/block/*/queue/scheduler
// marks it.
Reading<std::string> parse_io_scheduler(std::string_view text);

// Of the disk with this number, or that this partition is of. `root` is prefixed to /sys. Unknown
// for what is no disk of its own: file systems over several disks, over a network, in memory.
Reading<std::string> io_scheduler(unsigned major, unsigned minor,
                                  const std::filesystem::path& root = "/");
// Of the disk that `folder` is on.
Reading<std::string> io_scheduler_of(const std::filesystem::path& folder);

// Whether class and level count: with bfq, and with mq-deadline since Linux 5.14. Others (none,
// kyber) serve all alike (kernel documentation, block/ioprio).
bool heeds_io_class(std::string_view scheduler);

}  // namespace gogrid

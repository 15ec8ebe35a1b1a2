// How long the threads of this process have waited for a core that others had.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/clock.h"
#include "resource/host_text.h"

namespace gogrid {

// The second number of /proc/PID/task/TID/schedstat: nanoseconds that the thread was ready to run
// and did not (kernel documentation, scheduler/sched-stats). A thread that sleeps does not wait.
Reading<Duration> parse_run_delay(std::string_view schedstat);

// Of all threads that live, together, since each began: it falls when one ends. Unknown where the
// kernel does not count it. `root` is prefixed to /proc. A few microseconds for each thread.
Reading<Duration> run_delay(const std::filesystem::path& root = "/");

}  // namespace gogrid

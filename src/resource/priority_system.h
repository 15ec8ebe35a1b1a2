// The system calls behind ProcessPriority, one thread at a time.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gogrid {

// I/O classes as ioprio_set(2) numbers them.
enum class IoClass : std::uint8_t {
  kNone,      // the kernel derives class and level from policy and nice
  kRealTime,  // needs CAP_SYS_NICE or CAP_SYS_ADMIN
  kBestEffort,
  kIdle,  // the disk only when nobody else wants it; the level means nothing
};
inline constexpr int kMostUrgentIoLevel = 0;
inline constexpr int kLeastUrgentIoLevel = 7;

struct IoPriority {
  IoClass io_class = IoClass::kNone;
  int level = 0;  // 0 (most urgent)..7, of kRealTime and kBestEffort
  bool operator==(const IoPriority&) const = default;
};

// As sched_setscheduler(2) numbers them. Others (real time, deadline) are kept as numbers: they are
// read, never set.
enum class SchedulingPolicy : int { kOther = 0, kBatch = 3, kIdle = 5 };

// An errno; 0 is success. The numbers that ProcessPriority acts on: ESRCH for a thread that has
// ended, EPERM and EACCES for what is not permitted.
using Errno = int;
template <class T>
using Answer = std::expected<T, Errno>;

// One process of an operating system. Thread-safe. Implementations: Linux, and tests that inject
// errors.
class PrioritySystem {
 public:
  virtual ~PrioritySystem() = default;

  virtual int current_thread() = 0;
  // The threads of this process. One that begins or ends meanwhile may or may not be among them.
  virtual Answer<std::vector<int>> threads() = 0;

  virtual Errno set_nice(int thread, int nice) = 0;
  virtual Answer<int> nice(int thread) = 0;
  virtual Errno set_io(int thread, IoPriority io) = 0;
  virtual Answer<IoPriority> io(int thread) = 0;
  virtual Errno set_policy(int thread, SchedulingPolicy policy) = 0;
  virtual Answer<SchedulingPolicy> policy(int thread) = 0;
  virtual Errno set_timer_slack(int thread, std::uint64_t nanoseconds) = 0;
  virtual Answer<std::uint64_t> timer_slack(int thread) = 0;

  // Of the whole process, -1000..1000.
  virtual Errno set_oom_score(int score) = 0;
  virtual Answer<int> oom_score() = 0;
};

// This process. kUnsupported, by the system's name, where it is not Linux.
Result<std::unique_ptr<PrioritySystem>> host_priority_system();

// What host_priority_system() answers on `system`, which is none of those that are known.
Result<std::unique_ptr<PrioritySystem>> no_priority_system(std::string_view system);

}  // namespace gogrid

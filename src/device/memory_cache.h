// Memory readings that are taken at most once in a while: some drivers take milliseconds to answer.
#pragma once

#include <functional>
#include <map>

#include "base/clock.h"
#include "base/mutex.h"
#include "device/cpu_info.h"

namespace gogrid {

// Thread-safe. `clock` must outlive it.
class MemoryCache {
 public:
  using Reader = std::function<MemoryReading(std::size_t key)>;

  MemoryCache(Reader reader, const Clock& clock, Duration time_to_live);

  // The reading of `key`, at most `time_to_live` old.
  MemoryReading read(std::size_t key) EXCLUDES(mu_);

 private:
  struct Entry {
    MemoryReading reading;
    TimePoint taken;
  };

  const Reader reader_;
  const Clock& clock_;
  const Duration time_to_live_;
  Mutex mu_;
  std::map<std::size_t, Entry> entries_ GUARDED_BY(mu_);
};

}  // namespace gogrid

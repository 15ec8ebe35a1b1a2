#include "device/memory_cache.h"

#include <utility>

namespace gogrid {

MemoryCache::MemoryCache(Reader reader, const Clock& clock, Duration time_to_live)
    : reader_(std::move(reader)), clock_(clock), time_to_live_(time_to_live) {}

MemoryReading MemoryCache::read(std::size_t key) {
  MutexLock lock(mu_);  // held while reading, so that two callers ask the driver once
  const TimePoint now = clock_.now();
  const auto found = entries_.find(key);
  if (found != entries_.end() && now - found->second.taken < time_to_live_) {
    return found->second.reading;
  }
  return entries_.insert_or_assign(key, Entry{reader_(key), now}).first->second.reading;
}

}  // namespace gogrid

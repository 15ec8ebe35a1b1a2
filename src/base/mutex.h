// A mutex that clang's thread-safety analysis understands: members say GUARDED_BY(mu_), functions
// REQUIRES(mu_), and `make lint` fails where the promise is broken.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define GOGRID_ATTRIBUTE_(x) __attribute__((x))
#else
#define GOGRID_ATTRIBUTE_(x)
#endif

#define CAPABILITY(x) GOGRID_ATTRIBUTE_(capability(x))
#define SCOPED_CAPABILITY GOGRID_ATTRIBUTE_(scoped_lockable)
#define GUARDED_BY(x) GOGRID_ATTRIBUTE_(guarded_by(x))
#define REQUIRES(...) GOGRID_ATTRIBUTE_(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) GOGRID_ATTRIBUTE_(acquire_capability(__VA_ARGS__))
#define RELEASE(...) GOGRID_ATTRIBUTE_(release_capability(__VA_ARGS__))
#define EXCLUDES(...) GOGRID_ATTRIBUTE_(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS GOGRID_ATTRIBUTE_(no_thread_safety_analysis)

namespace gogrid {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mu_.lock(); }
  void unlock() RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.lock(); }
  ~MutexLock() RELEASE() { mu_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

// Waits release and retake the mutex. Spurious wake-ups happen: wait in a loop over the condition,
// so that the analysis sees the guarded reads.
class CondVar {
 public:
  void wait(Mutex& mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when `until` passed first.
  template <class Time>
  bool wait_until(Mutex& mu, Time until) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    const bool signalled = cv_.wait_until(lock, until) == std::cv_status::no_timeout;
    lock.release();
    return signalled;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace gogrid

// SIGTERM and SIGINT, turned into a call on a thread of our own.
#pragma once

#include <pthread.h>

#include <csignal>
#include <functional>
#include <thread>

#include "base/mutex.h"

namespace gogrid {

// Make it before any other thread: those started later inherit that these signals are not theirs.
// SIGPIPE is ignored from then on: a reader that left is an error of write(), not the end.
//
// Until on_first() was called, a signal ends the process as it always does: nothing is served yet
// that could be lost. After it, the first signal calls the function, on a thread of its own; the
// second ends the process at once.
//
// Thread-safe.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void on_first(std::function<void()> drain);
  // Forgets the function, or waits for it where it was called: what it uses may go then.
  void forget();

 private:
  void take(std::stop_token stop);
  void stop_for(int signal);

  sigset_t signals_{};
  Mutex mu_;
  std::function<void()> drain_ GUARDED_BY(mu_);  // empty: none yet, or it was called
  bool draining_ GUARDED_BY(mu_) = false;
  std::jthread drainer_ GUARDED_BY(mu_);
  std::jthread taker_;
};

}  // namespace gogrid

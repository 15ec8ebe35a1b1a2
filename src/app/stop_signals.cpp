#include "app/stop_signals.h"

#include <utility>

#include "app/terminal.h"

namespace gogrid {
namespace {

// As if nobody had taken the signal: whoever waits for this process sees what ended it.
[[noreturn]] void die_of(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t one{};
  sigemptyset(&one);
  sigaddset(&one, signal);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  std::raise(signal);
  std::_Exit(128 + signal);
}

}  // namespace

StopSignals::StopSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigemptyset(&signals_);
  // SIGUSR1 wakes our own thread when it is told to end.
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  taker_ = std::jthread([this](std::stop_token stop) { take(std::move(stop)); });
}

StopSignals::~StopSignals() {
  forget();
  taker_.request_stop();
  pthread_kill(taker_.native_handle(), SIGUSR1);
  taker_.join();
}

void StopSignals::on_first(std::function<void()> drain) {
  const MutexLock lock(mu_);
  drain_ = std::move(drain);
}

void StopSignals::forget() {
  std::jthread drainer;
  {
    const MutexLock lock(mu_);
    drain_ = nullptr;
    drainer.swap(drainer_);
  }
}

void StopSignals::take(std::stop_token stop) {
  while (!stop.stop_requested()) {
    int signal = 0;
    if (sigwait(&signals_, &signal) == 0 && signal != SIGUSR1) stop_for(signal);
  }
}

void StopSignals::stop_for(int signal) {
  const MutexLock lock(mu_);
  if (!drain_) {
    if (draining_) complain("told to stop twice: ends without waiting");
    die_of(signal);
  }
  draining_ = true;
  drainer_ = std::jthread(std::exchange(drain_, nullptr));
}

}  // namespace gogrid

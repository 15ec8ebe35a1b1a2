#include "resource/load_monitor.h"

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

#include "obs/log.h"

namespace gogrid {
namespace {

HostLoad unknown_host(const std::string& why) {
  const auto unknown = not_known("machine", why);
  return {.cpu = unknown,
          .memory_of_others = unknown,
          .pressure = {unknown, unknown, unknown},
          .power = unknown,
          .heat = unknown};
}

HostLoad ask_host(const std::function<HostLoad()>& source) {
  try {
    return source();
  } catch (const std::exception& thrown) {
    return unknown_host(std::string("the look failed: ") + thrown.what());
  }
}

Reading<Share> ask_gpu(const std::function<Reading<Share>()>& source, bool enabled) {
  // A GPU that sleeps would be woken by each question.
  if (!source || !enabled) return not_known("GPU", source ? "is not asked" : "none is asked");
  try {
    return source();
  } catch (const std::exception& thrown) {
    return not_known("GPU", std::string("the look failed: ") + thrown.what());
  }
}

OthersLoad others_of(const LoadView& view) {
  return {.cpu = view.host.cpu.transform([](const CpuLoad& cpu) { return cpu.others; }),
          .gpu = view.gpu_of_others,
          .memory = view.host.memory_of_others};
}

}  // namespace

LoadMonitor::LoadMonitor(const PausePolicy& policy, LoadSources sources, const Clock& clock,
                         Listener listener)
    : sources_(std::move(sources)),
      clock_(clock),
      listener_(std::move(listener)),
      policy_(policy) {}

LoadMonitor::~LoadMonitor() { stop(); }

Status LoadMonitor::start() {
  MutexLock lock(mu_);
  if (stopped_ || thread_.joinable()) return {};
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& thrown) {
    return fail(ErrorCode::kExhausted,
                std::string("[load] expected a thread to look from: ") + thrown.what());
  }
  return {};
}

void LoadMonitor::stop() {
  std::thread ending;
  {
    MutexLock lock(mu_);
    stopped_ = true;
    changed_.notify_all();
    ending = std::move(thread_);
  }
  if (ending.joinable()) ending.join();
}

void LoadMonitor::set_policy(const PausePolicy& policy) {
  MutexLock lock(mu_);
  if (policy == policy_) return;
  policy_ = policy;
  look_now_ = true;
  changed_.notify_all();
}

std::shared_ptr<const LoadView> LoadMonitor::last() const {
  MutexLock lock(mu_);
  return last_;
}

std::shared_ptr<const LoadView> LoadMonitor::look() {
  MutexLock looking(looking_);
  PausePolicy policy;
  {
    MutexLock lock(mu_);
    policy = policy_;
  }
  const auto view = settle(read(policy));
  if (listener_) listener_(view->decision);
  return view;
}

LoadView LoadMonitor::read(const PausePolicy& policy) {
  return {.decision = {},
          .host = ask_host(sources_.host),
          .gpu_of_others = ask_gpu(sources_.gpu_of_others, policy.enabled)};
}

// The policy may have changed during the look: the one of now decides.
std::shared_ptr<const LoadView> LoadMonitor::settle(LoadView view) {
  MutexLock lock(mu_);
  const LoadDecision before = last_ ? last_->decision : LoadDecision{};
  view.decision = decide(before, policy_, others_of(view), clock_.now());
  last_ = std::make_shared<const LoadView>(std::move(view));
  paused_.store(last_->decision.state == LoadState::kPaused, std::memory_order_release);
  return last_;
}

bool LoadMonitor::rest_until(std::chrono::steady_clock::time_point due) {
  MutexLock lock(mu_);
  while (!stopped_ && !look_now_) {
    if (!changed_.wait_until(mu_, due)) return true;
  }
  return false;
}

void LoadMonitor::begin_window() {
  MutexLock looking(looking_);
  bool gpus = false;
  {
    MutexLock lock(mu_);
    gpus = policy_.enabled;
  }
  ask_host(sources_.host);
  static_cast<void>(ask_gpu(sources_.gpu_of_others, gpus));  // a figure is since the last
}

bool LoadMonitor::wait_for_next() {
  const auto begun = std::chrono::steady_clock::now();
  Duration interval;
  {
    MutexLock lock(mu_);
    interval = std::max<Duration>(policy_.check, kLeastInterval);
  }
  if (interval <= kWindow) {
    rest_until(begun + interval);
  } else if (rest_until(begun + interval - kWindow)) {
    begin_window();
    rest_until(std::chrono::steady_clock::now() + kWindow);
  }
  MutexLock lock(mu_);
  look_now_ = false;
  return !stopped_;
}

void LoadMonitor::run() {
  do {
    try {
      look();
    } catch (const std::exception& thrown) {  // the listener's, or no memory: the next may do
      log::error("load_look_failed", {{"error", std::string_view(thrown.what())}});
    }
  } while (wait_for_next());
}

}  // namespace gogrid

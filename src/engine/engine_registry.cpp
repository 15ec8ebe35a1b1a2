#include "engine/engine_registry.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/nearest.h"
#include "obs/log.h"

namespace gogrid {
namespace {

constexpr int kMaxReloads = 3;
constexpr Duration kFirstBackOff = std::chrono::milliseconds(100);
constexpr Duration kLastBackOff = std::chrono::seconds(5);
// How soon the failure of an engine is noticed (its own requests learn of it at once).
constexpr Duration kLookInterval = std::chrono::milliseconds(200);
constexpr std::chrono::milliseconds kRetryAfter{2000};
// An engine that served so long has its tries back: a fault a month is no reason to give up.
constexpr Duration kHealthyAfter = std::chrono::minutes(1);

}  // namespace

std::string_view name_of(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "loading";
    case ModelState::kReady:
      return "ready";
    case ModelState::kFailed:
      return "failed";
  }
  return "failed";
}

class EngineRegistry::Impl {
 public:
  explicit Impl(const Clock& clock)
      : clock_(clock), thread_([this](std::stop_token stop) { run(stop); }) {}

  ~Impl() {
    thread_.request_stop();
    changed_.notify_all();
    thread_.join();
  }

  Status add(std::string name, EngineLoader loader) {
    MutexLock lock(mu_);
    if (entry_of(name) != nullptr) {
      return fail(ErrorCode::kInvalidArgument,
                  "[engine_registry] model '" + name + "' is given twice", "model");
    }
    auto entry = std::make_unique<Entry>();
    entry->status.name = std::move(name);
    entry->status.created = std::time(nullptr);
    entry->loader = std::move(loader);
    entry->due = clock_.now();
    entries_.push_back(std::move(entry));
    changed_.notify_all();
    return {};
  }

  Result<std::shared_ptr<TextEngine>> find(std::string_view name) const {
    MutexLock lock(mu_);
    const Entry* entry = entry_of(name);
    if (entry == nullptr) {
      std::vector<std::string> names;
      for (const auto& one : entries_) names.push_back(one->status.name);
      return fail(ErrorCode::kNotFound,
                  "no model '" + std::string(name) + "'" + suggestion(name, names), "model");
    }
    if (entry->status.state == ModelState::kReady) return entry->status.engine;
    return std::unexpected(not_ready(entry->status));
  }

  std::vector<ModelStatus> list() const {
    MutexLock lock(mu_);
    std::vector<ModelStatus> statuses;
    for (const auto& entry : entries_) statuses.push_back(entry->status);
    return statuses;
  }

  bool ready() const {
    MutexLock lock(mu_);
    return std::ranges::all_of(entries_,
                               [](const auto& e) { return e->status.state == ModelState::kReady; });
  }

  void drain(TimePoint deadline) {
    thread_.request_stop();
    changed_.notify_all();
    for (const ModelStatus& status : list()) {
      if (status.engine != nullptr) status.engine->drain(deadline);
    }
  }

 private:
  struct Entry {
    ModelStatus status;
    EngineLoader loader;
    int reloads = 0;
    bool wanted = true;  // to be loaded at `due`
    TimePoint due;
    TimePoint ready_since;
  };

  static Error not_ready(const ModelStatus& status) {
    Error error{.code = ErrorCode::kUnavailable,
                .message = {},
                .param = "model",
                .retry_after = kRetryAfter};
    if (status.state == ModelState::kLoading) {
      error.message = "model '" + status.name +
                      "' is loading: " + std::to_string(std::lround(status.progress * 100)) + " %";
    } else {
      error.message = "model '" + status.name + "' has failed: " + status.why;
    }
    return error;
  }

  Entry* entry_of(std::string_view name) const REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.name == name) return entry.get();
    }
    return nullptr;
  }

  void run(std::stop_token stop) {
    while (!stop.stop_requested()) {
      Entry* due = wait_for_work(stop);
      take_retired().clear();
      if (due != nullptr) load(*due, stop);
    }
  }

  std::vector<std::shared_ptr<TextEngine>> take_retired() {
    MutexLock lock(mu_);
    return std::exchange(retired_, {});
  }

  // The next entry to load, or null after a look at the engines. Entries are never removed, so the
  // pointer stays valid.
  Entry* wait_for_work(const std::stop_token& stop) {
    MutexLock lock(mu_);
    if (stop.stop_requested()) return nullptr;
    notice_failures();
    for (const auto& entry : entries_) {
      if (entry->wanted && entry->due <= clock_.now()) return entry.get();
    }
    changed_.wait_until(mu_, std::chrono::steady_clock::now() + kLookInterval);
    return nullptr;
  }

  void notice_failures() REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.state != ModelState::kReady) continue;
      const auto failure = entry->status.engine->failure();
      if (!failure) continue;
      if (clock_.now() - entry->ready_since >= kHealthyAfter) entry->reloads = 0;
      schedule_reload(*entry, *failure);
    }
  }

  void schedule_reload(Entry& entry, const Error& why) REQUIRES(mu_) {
    log::error("model_failed", {{"model", entry.status.name},
                                {"why", why.message},
                                {"reloads", std::int64_t{entry.reloads}}});
    entry.status.state = ModelState::kFailed;
    entry.status.why = why.message;
    // Destroying an engine joins its threads: not under the lock.
    if (entry.status.engine != nullptr) retired_.push_back(std::move(entry.status.engine));
    entry.status.engine.reset();
    const bool hopeless = traits(why.code).retry == Retry::kNever &&
                          why.code != ErrorCode::kInternal && why.code != ErrorCode::kIo;
    entry.wanted = !hopeless && entry.reloads < kMaxReloads;
    entry.due = clock_.now() + std::min(kLastBackOff, kFirstBackOff * (1 << entry.reloads));
    ++entry.reloads;
  }

  void load(Entry& entry, const std::stop_token& stop) {
    {
      MutexLock lock(mu_);
      entry.wanted = false;
      entry.status.state = ModelState::kLoading;
      entry.status.progress = 0.0;
    }
    const auto progress = [&](double share) {
      MutexLock lock(mu_);
      entry.status.progress = std::clamp(share, 0.0, 1.0);
    };
    auto engine = load_safely(entry.loader, progress, stop);
    MutexLock lock(mu_);
    if (!engine) return schedule_reload(entry, engine.error());
    if (stop.stop_requested()) return retired_.push_back(*std::move(engine));  // nobody drains it
    entry.ready_since = clock_.now();
    entry.status.engine = *std::move(engine);
    entry.status.state = ModelState::kReady;
    entry.status.progress = 1.0;
    entry.status.why.clear();
    log::info("model_ready", {{"model", entry.status.name}});
  }

  // This thread's root: whatever a library throws becomes the model's status.
  static Result<std::unique_ptr<TextEngine>> load_safely(const EngineLoader& loader,
                                                         const LoadProgress& progress,
                                                         const std::stop_token& stop) {
    try {
      return loader(progress, stop);
    } catch (const std::exception& error) {
      return fail(ErrorCode::kInternal,
                  std::string("[engine_registry] loading threw: ") + error.what());
    }
  }

  const Clock& clock_;
  mutable Mutex mu_;
  CondVar changed_;
  std::vector<std::unique_ptr<Entry>> entries_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<TextEngine>> retired_ GUARDED_BY(mu_);
  std::jthread thread_;  // last: uses all of the above
};

EngineRegistry::EngineRegistry(const Clock& clock) : impl_(std::make_unique<Impl>(clock)) {}
EngineRegistry::~EngineRegistry() = default;
Status EngineRegistry::add(std::string name, EngineLoader loader) {
  return impl_->add(std::move(name), std::move(loader));
}
Result<std::shared_ptr<TextEngine>> EngineRegistry::find(std::string_view name) const {
  return impl_->find(name);
}
std::vector<ModelStatus> EngineRegistry::list() const { return impl_->list(); }
bool EngineRegistry::ready() const { return impl_->ready(); }
void EngineRegistry::drain(TimePoint deadline) { impl_->drain(deadline); }

}  // namespace gogrid

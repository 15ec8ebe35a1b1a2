#include "engine/engine_registry.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/nearest.h"
#include "engine/load_retry.h"
#include "engine/memory_pressure.h"
#include "obs/log.h"

namespace gogrid {
namespace {

// How soon the failure of an engine is noticed (its own requests learn of it at once).
constexpr Duration kLookInterval = std::chrono::milliseconds(200);

bool is_idle(const TextEngine& engine) {
  const BatcherStatus status = engine.status();
  return status.running + status.waiting + status.held == 0;
}

}  // namespace

class EngineRegistry::Impl {
 public:
  Impl(const Clock& clock, const MemoryLedger* ledger)
      : clock_(clock),
        ledger_(ledger),
        watcher_([this](const std::stop_token& stop) { watch(stop); }),
        loader_([this](const std::stop_token& stop) { load_what_is_due(stop); }) {}

  ~Impl() { stop(); }

  Status add(std::string name, EngineLoader loader) {
    MutexLock lock(mu_);
    if (entry_of(name) != nullptr) {
      return fail(ErrorCode::kInvalidArgument,
                  "[engine_registry] model '" + name + "' is given twice", "model");
    }
    auto entry = std::make_unique<Entry>(std::move(loader), clock_.now());
    entry->status.name = std::move(name);
    entry->status.created = std::time(nullptr);
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

  void look() {
    MutexLock lock(mu_);
    notice_caps();
    changed_.notify_all();
  }

  void drain(TimePoint deadline) {
    stop();
    for (const ModelStatus& status : list()) {
      if (status.engine != nullptr) status.engine->drain(deadline);
    }
  }

 private:
  struct Entry {
    Entry(EngineLoader loader_in, TimePoint now) : loader(std::move(loader_in)), retry(now) {}

    const EngineLoader loader;
    ModelStatus status;
    LoadRetry retry;
    bool gave_back = false;      // was ready once: what is refused it now is not refused for ever
    std::stop_source giving_up;  // of the load that goes on
    std::string given_up;        // why it was told to
    std::string refused;         // for want of memory: what was said of it last
  };

  Entry* entry_of(std::string_view name) const REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.name == name) return entry.get();
    }
    return nullptr;
  }

  Rooms rooms() const { return ledger_ != nullptr ? rooms_of(ledger_->list()) : Rooms{}; }

  void stop() {
    loader_.request_stop();
    watcher_.request_stop();
    changed_.notify_all();
  }

  // ---- the watcher

  void watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      give_back();
      MutexLock lock(mu_);
      notice_failures();
      notice_caps();
      if (retired_.empty() && !stop.stop_requested())
        changed_.wait_until(mu_, std::chrono::steady_clock::now() + kLookInterval);
    }
  }

  // Destroying an engine joins its threads: not under the lock.
  void give_back() {
    std::vector<std::shared_ptr<TextEngine>> retired;
    {
      MutexLock lock(mu_);
      retired.swap(retired_);
      gives_back_ = !retired.empty();
    }
    if (retired.empty()) return;
    retired.clear();
    MutexLock lock(mu_);
    gives_back_ = false;
    changed_.notify_all();
  }

  void notice_failures() REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.engine == nullptr) continue;
      if (const auto failure = entry->status.engine->failure()) has_failed(*entry, *failure);
    }
  }

  // Who must leave does, or is told to; who need not any more stays.
  void notice_caps() REQUIRES(mu_) {
    if (ledger_ == nullptr) return;
    const std::vector<DeviceMemory> accounts = ledger_->list();
    const std::vector<std::string> leaving = choose_leaving(accounts, models());
    const std::string excess = excess_text(accounts);
    for (const auto& entry : entries_) {
      if (std::ranges::contains(leaving, entry->status.name)) {
        leave(*entry, excess);
      } else if (entry->status.state == ModelState::kLeaving) {
        entry->status.state = ModelState::kReady;
        entry->status.why.clear();
        log::info("model_stays", {{"model", entry->status.name}});
      }
    }
  }

  std::vector<MemoryUser> models() const REQUIRES(mu_) {
    std::vector<MemoryUser> users;
    for (const auto& entry : entries_) {
      const ModelStatus& status = entry->status;
      if (status.state == ModelState::kLoading) users.push_back({status.name, Activity::kLoading});
      if (status.engine == nullptr) continue;
      users.push_back({status.name, is_idle(*status.engine) ? Activity::kIdle : Activity::kBusy});
    }
    return users;
  }

  void leave(Entry& entry, const std::string& excess) REQUIRES(mu_) {
    if (entry.status.state == ModelState::kLoading) return give_up(entry, excess);
    if (entry.status.state == ModelState::kReady) {
      log::warning("model_leaving", {{"model", entry.status.name}, {"why", excess}});
      entry.status.state = ModelState::kLeaving;
      entry.status.code = ErrorCode::kExhausted;
    }
    entry.status.why = "gives its memory back once its streams have ended: " + excess;
    // Whoever found the engine may still be about to send it a request: then it is not let go yet.
    // From here on nobody finds it, so the last one who has it is this entry.
    if (entry.status.engine.use_count() == 1 && is_idle(*entry.status.engine))
      unload(entry, excess);
  }

  void give_up(Entry& entry, const std::string& excess) REQUIRES(mu_) {
    if (!entry.given_up.empty()) return;
    entry.given_up = excess;
    entry.giving_up.request_stop();
    // Now, so that a cap that grows before the load has ended is not missed.
    entry.retry.left(rooms(), clock_.now());
  }

  void unload(Entry& entry, const std::string& excess) REQUIRES(mu_) {
    log::warning("model_unloaded", {{"model", entry.status.name}, {"why", excess}});
    retire(entry);
    entry.status.state = ModelState::kUnloaded;
    entry.status.why = "gave its memory back: " + excess;
    entry.gave_back = true;
    // Before it is given back: a cap that grows meanwhile is not missed, and one try is in vain.
    entry.retry.left(rooms(), clock_.now());
  }

  void retire(Entry& entry) REQUIRES(mu_) {
    if (entry.status.engine != nullptr) retired_.push_back(std::move(entry.status.engine));
    entry.status.engine.reset();
  }

  void has_failed(Entry& entry, const Error& why) REQUIRES(mu_) {
    log::error("model_failed", {{"model", entry.status.name}, {"why", why.message}});
    retire(entry);
    entry.status.state = ModelState::kFailed;
    entry.status.why = why.message;
    entry.status.code = ErrorCode::kUnavailable;
    entry.retry.failed(why.code, clock_.now());
  }

  // ---- the loader

  void load_what_is_due(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (Entry* due = wait_for_due(stop)) load(*due, stop);
    }
  }

  // Null after a while without one. Entries are never removed, so the pointer stays valid.
  Entry* wait_for_due(const std::stop_token& stop) {
    MutexLock lock(mu_);
    if (stop.stop_requested()) return nullptr;
    if (Entry* due = next_due()) return due;
    changed_.wait_until(mu_, std::chrono::steady_clock::now() + kLookInterval);
    return nullptr;
  }

  // None while memory is being given back: it is room for the next.
  Entry* next_due() const REQUIRES(mu_) {
    if (gives_back_ || !retired_.empty()) return nullptr;
    const Rooms rooms = this->rooms();
    for (const auto& entry : entries_) {
      if (entry->status.engine == nullptr && entry->retry.is_due(clock_.now(), rooms))
        return entry.get();
    }
    return nullptr;
  }

  std::stop_source begin(Entry& entry) {
    MutexLock lock(mu_);
    entry.retry.begin();
    entry.given_up.clear();
    entry.giving_up = std::stop_source();
    entry.status.state = ModelState::kLoading;
    entry.status.progress = 0.0;
    return entry.giving_up;
  }

  void load(Entry& entry, const std::stop_token& stop) {
    const Rooms before = rooms();
    std::stop_source giving_up = begin(entry);
    const std::stop_callback ending(stop, [&] { giving_up.request_stop(); });
    bool had_begun = false;
    const auto progress = [&](double share) {
      had_begun = true;
      MutexLock lock(mu_);
      entry.status.progress = std::clamp(share, 0.0, 1.0);
    };
    auto engine = load_safely(entry.loader, progress, giving_up.get_token());
    MutexLock lock(mu_);
    if (engine && stop.stop_requested()) return retired_.push_back(*std::move(engine));
    if (engine) return is_ready(entry, *std::move(engine));
    if (!entry.given_up.empty() && engine.error().code == ErrorCode::kCancelled)
      return has_given_up(entry);
    if (is_for_memory(engine.error().code)) {
      entry.retry.refused(engine.error().code, had_begun, least_of(before, rooms()), clock_.now());
      return is_refused(entry, engine.error());
    }
    has_failed(entry, engine.error());
  }

  void is_ready(Entry& entry, std::unique_ptr<TextEngine> engine) REQUIRES(mu_) {
    entry.retry.loaded(clock_.now());
    entry.gave_back = false;
    entry.refused.clear();
    entry.status.engine = std::move(engine);
    entry.status.state = ModelState::kReady;
    entry.status.progress = 1.0;
    entry.status.why.clear();
    log::info("model_ready", {{"model", entry.status.name}});
  }

  void has_given_up(Entry& entry) REQUIRES(mu_) {
    log::warning("model_gave_up_loading", {{"model", entry.status.name}, {"why", entry.given_up}});
    entry.status.state = ModelState::kUnloaded;
    entry.status.code = ErrorCode::kExhausted;
    entry.status.why = "gave up loading: " + entry.given_up;
  }

  // Said once: it is tried again and again.
  void is_refused(Entry& entry, const Error& why) REQUIRES(mu_) {
    if (std::exchange(entry.refused, why.message) != why.message) {
      log::warning("model_waits_for_memory", {{"model", entry.status.name}, {"why", why.message}});
    }
    entry.status.state = entry.gave_back ? ModelState::kUnloaded : ModelState::kFailed;
    entry.status.code = entry.gave_back ? ErrorCode::kExhausted : why.code;
    entry.status.why =
        (entry.gave_back ? "gave its memory back, and gets none: " : "") + why.message;
  }

  // A thread's root: whatever a library throws becomes the model's status.
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
  const MemoryLedger* const ledger_;
  mutable Mutex mu_;
  CondVar changed_;
  std::vector<std::unique_ptr<Entry>> entries_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<TextEngine>> retired_ GUARDED_BY(mu_);  // to be destroyed
  bool gives_back_ GUARDED_BY(mu_) = false;                           // some are, just now
  std::jthread watcher_;  // these last: they use all of the above
  std::jthread loader_;
};

EngineRegistry::EngineRegistry(const Clock& clock, const MemoryLedger* ledger)
    : impl_(std::make_unique<Impl>(clock, ledger)) {}
EngineRegistry::~EngineRegistry() = default;
Status EngineRegistry::add(std::string name, EngineLoader loader) {
  return impl_->add(std::move(name), std::move(loader));
}
Result<std::shared_ptr<TextEngine>> EngineRegistry::find(std::string_view name) const {
  return impl_->find(name);
}
std::vector<ModelStatus> EngineRegistry::list() const { return impl_->list(); }
bool EngineRegistry::ready() const { return impl_->ready(); }
void EngineRegistry::look() { impl_->look(); }
void EngineRegistry::drain(TimePoint deadline) { impl_->drain(deadline); }

}  // namespace gogrid

#include "engine/engine_registry.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/nearest.h"
#include "engine/memory_pressure.h"
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
// Between two tries for memory: what one of them gives back is room that grew for another.
constexpr Duration kMemoryInterval = std::chrono::seconds(1);

bool is_idle(const TextEngine& engine) {
  const BatcherStatus status = engine.status();
  return status.running + status.waiting + status.held == 0;
}

}  // namespace

std::string_view name_of(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "loading";
    case ModelState::kReady:
      return "ready";
    case ModelState::kFailed:
      return "failed";
    case ModelState::kLeaving:
      return "leaving";
    case ModelState::kUnloaded:
      return "unloaded";
  }
  return "failed";
}

class EngineRegistry::Impl {
 public:
  Impl(const Clock& clock, const MemoryLedger* ledger)
      : clock_(clock), ledger_(ledger), thread_([this](std::stop_token stop) { run(stop); }) {}

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

  void look() { changed_.notify_all(); }

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
    // Of the ledger, when memory was refused or given back; empty: it does not wait for memory.
    std::optional<std::uint64_t> growth;
    TimePoint refused;
    bool gave_back = false;  // was ready once: what is refused it now is not refused for ever
  };

  static Error not_ready(const ModelStatus& status) {
    Error error{.code = status.code, .message = {}, .param = "model", .retry_after = kRetryAfter};
    const std::string model = "model '" + status.name + "' ";
    switch (status.state) {
      case ModelState::kLoading:
        error.code = ErrorCode::kUnavailable;
        error.message =
            model + "is loading: " + std::to_string(std::lround(status.progress * 100)) + " %";
        break;
      case ModelState::kLeaving:
      case ModelState::kUnloaded:
        error.message = model + status.why;
        break;
      case ModelState::kFailed:
      case ModelState::kReady:
        error.message = model + "has failed: " + status.why;
        break;
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
    if (ledger_ != nullptr) notice_caps();
    if (!retired_.empty()) return nullptr;
    for (const auto& entry : entries_) {
      if (entry->wanted && entry->due <= clock_.now()) return entry.get();
    }
    changed_.wait_until(mu_, std::chrono::steady_clock::now() + kLookInterval);
    return nullptr;
  }

  void notice_failures() REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.engine == nullptr) continue;
      const auto failure = entry->status.engine->failure();
      if (!failure) continue;
      if (clock_.now() - entry->ready_since >= kHealthyAfter) entry->reloads = 0;
      schedule_reload(*entry, *failure);
    }
  }

  // Who must leave does, or is told to; who need not any more, or waited for memory, is wanted.
  void notice_caps() REQUIRES(mu_) {
    const std::vector<DeviceMemory> accounts = ledger_->list();
    std::vector<LoadedModel> models;
    for (const auto& entry : entries_) {
      const auto& engine = entry->status.engine;
      if (engine != nullptr) models.push_back({entry->status.name, is_idle(*engine)});
    }
    const std::vector<std::string> leaving = choose_leaving(accounts, models);
    const std::string excess = excess_text(accounts);
    for (const auto& entry : entries_) {
      if (std::ranges::contains(leaving, entry->status.name)) {
        leave(*entry, excess);
      } else if (entry->status.state == ModelState::kLeaving) {
        entry->status.state = ModelState::kReady;
        entry->status.why.clear();
        log::info("model_stays", {{"model", entry->status.name}});
      }
      want_again(*entry);
    }
  }

  // Whoever found the engine may still be about to send it a request: then it is not let go yet.
  // From here on nobody finds it, so the last one who has it is this entry.
  void leave(Entry& entry, const std::string& excess) REQUIRES(mu_) {
    if (entry.status.state == ModelState::kReady) {
      log::warning("model_leaving", {{"model", entry.status.name}, {"why", excess}});
      entry.status.state = ModelState::kLeaving;
      entry.status.code = ErrorCode::kExhausted;
    }
    entry.status.why = "gives its memory back once its streams have ended: " + excess;
    if (entry.status.engine.use_count() != 1 || !is_idle(*entry.status.engine)) return;
    log::warning("model_unloaded", {{"model", entry.status.name}, {"why", excess}});
    retired_.push_back(std::move(entry.status.engine));
    entry.status.engine.reset();
    entry.status.state = ModelState::kUnloaded;
    entry.status.why = "gave its memory back: " + excess;
    entry.gave_back = true;
    // Before it is given back: a cap that grows meanwhile is not missed, and one try is in vain.
    entry.growth = ledger_->growth();
    entry.refused = clock_.now();
  }

  void want_again(Entry& entry) REQUIRES(mu_) {
    if (!entry.growth || *entry.growth == ledger_->growth() || entry.wanted) return;
    entry.wanted = true;
    entry.reloads = 0;
    entry.due = std::max(clock_.now(), entry.refused + kMemoryInterval);
  }

  void schedule_reload(Entry& entry, const Error& why) REQUIRES(mu_) {
    log::error("model_failed", {{"model", entry.status.name},
                                {"why", why.message},
                                {"reloads", std::int64_t{entry.reloads}}});
    entry.status.state = ModelState::kFailed;
    entry.status.why = why.message;
    entry.status.code = is_for_memory(why.code) ? why.code : ErrorCode::kUnavailable;
    // Destroying an engine joins its threads: not under the lock.
    if (entry.status.engine != nullptr) retired_.push_back(std::move(entry.status.engine));
    entry.status.engine.reset();
    const bool hopeless = traits(why.code).retry == Retry::kNever &&
                          why.code != ErrorCode::kInternal && why.code != ErrorCode::kIo;
    entry.wanted = !hopeless && entry.reloads < kMaxReloads;
    entry.due = clock_.now() + std::min(kLastBackOff, kFirstBackOff * (1 << entry.reloads));
    ++entry.reloads;
  }

  // While no room has grown, what was refused would be again. If some did meanwhile, it may have
  // been what the load itself gave back: a few tries tell.
  void wait_for_memory(Entry& entry, std::uint64_t growth_before) REQUIRES(mu_) {
    entry.growth = ledger_->growth();
    entry.refused = clock_.now();
    entry.wanted = entry.growth != growth_before && entry.reloads <= kMaxReloads;
    if (!entry.gave_back) return;
    entry.status.state = ModelState::kUnloaded;
    entry.status.code = ErrorCode::kExhausted;
    entry.status.why = "gave its memory back, and gets none: " + entry.status.why;
  }

  void load(Entry& entry, const std::stop_token& stop) {
    const std::uint64_t growth = ledger_ != nullptr ? ledger_->growth() : 0;
    {
      MutexLock lock(mu_);
      entry.wanted = false;
      entry.growth.reset();
      entry.status.state = ModelState::kLoading;
      entry.status.progress = 0.0;
    }
    const auto progress = [&](double share) {
      MutexLock lock(mu_);
      entry.status.progress = std::clamp(share, 0.0, 1.0);
    };
    auto engine = load_safely(entry.loader, progress, stop);
    MutexLock lock(mu_);
    if (!engine) {
      schedule_reload(entry, engine.error());
      if (ledger_ != nullptr && is_for_memory(engine.error().code)) wait_for_memory(entry, growth);
      return;
    }
    if (stop.stop_requested()) return retired_.push_back(*std::move(engine));  // nobody drains it
    entry.ready_since = clock_.now();
    entry.gave_back = false;
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
  const MemoryLedger* const ledger_;
  mutable Mutex mu_;
  CondVar changed_;
  std::vector<std::unique_ptr<Entry>> entries_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<TextEngine>> retired_ GUARDED_BY(mu_);
  std::jthread thread_;  // last: uses all of the above
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

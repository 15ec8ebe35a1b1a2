#include "engine/engine_registry.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/durations.h"
#include "base/mutex.h"
#include "base/nearest.h"
#include "engine/make_room.h"
#include "engine/memory_pressure.h"

namespace gogrid {
namespace {

// How soon the failure of an engine is noticed (its own requests learn of it at once).
constexpr Duration kLookInterval = std::chrono::milliseconds(200);

}  // namespace

class EngineRegistry::Impl {
 public:
  Impl(const Clock& clock, const RegistryOptions& options)
      : clock_(clock),
        options_(options),
        watcher_([this](const std::stop_token& stop) { watch(stop); }),
        loader_([this](const std::stop_token& stop) { load_what_is_due(stop); }) {}

  ~Impl() { stop(); }

  Status add(std::string name, EngineLoader loader, ModelKeeping keeping) {
    MutexLock lock(mu_);
    GOGRID_RETURN_IF_ERROR(check_is_free(name));
    auto entry = std::make_unique<Entry>(std::move(loader), clock_.now());
    entry->status.name = std::move(name);
    entry->status.created = std::time(nullptr);
    entry->status.pinned = keeping.pinned;
    if (keeping.on_demand) entry->become_resting("nobody has asked for it yet");
    entries_.push_back(std::move(entry));
    has_changed();
    return {};
  }

  Status add_alias(std::string alias, std::string_view name) {
    MutexLock lock(mu_);
    GOGRID_RETURN_IF_ERROR(check_is_free(alias));
    Entry* entry = entry_of(name);
    if (entry == nullptr) return std::unexpected(not_found(name));
    entry->status.aliases.push_back(std::move(alias));
    return {};
  }

  Result<std::shared_ptr<TextEngine>> find(std::string_view name) const {
    MutexLock lock(mu_);
    Entry* entry = entry_of(name);
    if (entry == nullptr) return std::unexpected(not_found(name));
    if (entry->status.state != ModelState::kReady) return std::unexpected(not_ready(entry->status));
    entry->used = clock_.now();
    return entry->status.engine;
  }

  Result<std::optional<ModelHold>> want(std::string_view name, TimePoint latest,
                                        std::stop_token gone, ModelCalls calls) {
    MutexLock lock(mu_);
    Entry* entry = entry_of(name);
    if (entry == nullptr) return std::unexpected(not_found(name));
    if (closed_) return std::unexpected(draining());
    const TimePoint now = clock_.now();
    if (entry->status.state == ModelState::kReady) {
      entry->used = now;
      return entry->hold;
    }
    if (latest <= now || waits_in_vain(*entry)) return std::unexpected(not_ready(entry->status));
    if (waiting() >= options_.max_waiting) {
      return fail(ErrorCode::kExhausted, "too many requests wait for models to be loaded");
    }
    entry->waiters.add(now, latest, std::move(gone), std::move(calls));
    entry->status.waiting = entry->waiters.size();
    has_changed();
    return std::nullopt;
  }

  std::vector<ModelStatus> list() const {
    MutexLock lock(mu_);
    std::vector<ModelStatus> statuses;
    for (const auto& entry : entries_) statuses.push_back(entry->status);
    return statuses;
  }

  bool ready() const {
    MutexLock lock(mu_);
    return std::ranges::all_of(entries_, [](const auto& entry) {
      return entry->status.state == ModelState::kReady ||
             entry->status.state == ModelState::kResting;
    });
  }

  void look() {
    MutexLock lock(mu_);
    notice_caps();
    has_changed();
  }

  void drain(TimePoint deadline) {
    stop();
    for (const ModelStatus& status : list()) {
      if (status.engine != nullptr) status.engine->drain(deadline);
    }
  }

 private:
  using Entry = ServedModel;

  Entry* entry_of(std::string_view name) const REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->has_name(name)) return entry.get();
    }
    return nullptr;
  }

  Status check_is_free(const std::string& name) const REQUIRES(mu_) {
    if (entry_of(name) == nullptr) return {};
    return fail(ErrorCode::kInvalidArgument,
                "[engine_registry] model '" + name + "' is given twice", "model");
  }

  Error not_found(std::string_view name) const REQUIRES(mu_) {
    std::vector<std::string> names;
    for (const auto& entry : entries_) {
      names.push_back(entry->status.name);
      names.insert(names.end(), entry->status.aliases.begin(), entry->status.aliases.end());
    }
    return {ErrorCode::kNotFound,
            "no model '" + std::string(name) + "'" + suggestion(name, names),
            "model",
            {}};
  }

  static Error draining() {
    return {ErrorCode::kUnavailable, "the server is draining: it takes no new requests", {}, {}};
  }

  // Both threads look at once.
  void has_changed() REQUIRES(mu_) {
    is_new_ = true;
    changed_.notify_all();
  }

  Rooms rooms() const {
    return options_.ledger != nullptr ? rooms_of(options_.ledger->list()) : Rooms{};
  }

  void stop() {
    {
      MutexLock lock(mu_);
      closed_ = true;
    }
    loader_.request_stop();
    watcher_.request_stop();
    changed_.notify_all();
  }

  // ---- the watcher

  void watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      give_back();
      look_after_all();
      MutexLock lock(mu_);
      if (!is_new_ && retired_.empty() && !stop.stop_requested())
        changed_.wait_until(mu_, std::chrono::steady_clock::now() + kLookInterval);
    }
    look_after_all();
  }

  void look_after_all() {
    DueCalls due;
    {
      MutexLock lock(mu_);
      is_new_ = false;
      notice_failures();
      notice_caps();
      notice_use();
      rest_the_unused();
      make_room();
      answer_waiters(due);
    }
    for (const auto& call : due) call();
  }

  // Destroying an engine joins its threads: not under the lock.
  void give_back() {
    std::vector<RetiredEngine> retired;
    {
      MutexLock lock(mu_);
      retired.swap(retired_);
      gives_back_ = !retired.empty();
    }
    if (retired.empty()) return;
    retired.clear();
    MutexLock lock(mu_);
    gives_back_ = false;
    ++returns_;
    has_changed();
  }

  void notice_failures() REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.engine == nullptr) continue;
      if (const auto failure = entry->status.engine->failure())
        retire(entry->fail_for(*failure, clock_.now()));
    }
  }

  // Who must leave does, or is told to; who need not any more stays.
  void notice_caps() REQUIRES(mu_) {
    if (options_.ledger == nullptr) return;
    const std::vector<DeviceMemory> accounts = options_.ledger->list();
    const std::vector<std::string> leaving = choose_leaving(accounts, models());
    const std::string excess = excess_text(accounts);
    for (const auto& entry : entries_) {
      if (std::ranges::contains(leaving, entry->status.name)) {
        leave(*entry, excess);
      } else if (entry->status.state == ModelState::kLeaving && !entry->makes_room) {
        entry->stay();
      }
    }
  }

  std::vector<MemoryUser> models() const REQUIRES(mu_) {
    std::vector<MemoryUser> users;
    for (const auto& entry : entries_) {
      const ModelStatus& status = entry->status;
      if (status.state == ModelState::kLoading) users.push_back({status.name, Activity::kLoading});
      if (status.engine == nullptr) continue;
      users.push_back({status.name, entry->is_idle() ? Activity::kIdle : Activity::kBusy});
    }
    return users;
  }

  void leave(Entry& entry, const std::string& excess) REQUIRES(mu_) {
    if (entry.status.state == ModelState::kLoading)
      return entry.give_up(excess, rooms(), clock_.now());
    entry.leave_for_cap(excess);
    // Whoever found the engine may still be about to send it a request: then it is not let go yet.
    // From here on nobody finds it, so the last one who has it is this entry.
    if (!entry.has_left()) return;
    count_unload(entry, "cap");
    retire(entry.unload_for_cap(excess, rooms(), clock_.now()));
  }

  void retire(RetiredEngine engine) REQUIRES(mu_) {
    if (engine != nullptr) retired_.push_back(std::move(engine));
  }

  // ---- models that rest, and room for those that are asked for

  void rest(Entry& entry, std::string why, std::string_view reason) REQUIRES(mu_) {
    count_unload(entry, reason);
    retire(entry.rest(std::move(why)));
  }

  void count_unload(const Entry& entry, std::string_view reason) const {
    if (options_.metrics != nullptr) options_.metrics->count_unload(entry.status.name, reason);
  }

  void notice_use() REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->status.engine != nullptr && entry->is_busy()) entry->used = clock_.now();
    }
  }

  void rest_the_unused() REQUIRES(mu_) {
    if (!options_.keep_alive) return;
    for (const auto& entry : entries_) {
      if (entry->status.state != ModelState::kReady || entry->status.pinned) continue;
      if (entry->is_busy() || clock_.now() - entry->used < *options_.keep_alive) continue;
      rest(*entry, "nobody has used it for " + format_duration(*options_.keep_alive), "idle");
    }
  }

  // Whose first request came first, of those that can be loaded.
  Entry* oldest_wanted() const REQUIRES(mu_) {
    Entry* oldest = nullptr;
    for (const auto& entry : entries_) {
      if (entry->waiters.empty() || entry->status.engine != nullptr || waits_in_vain(*entry))
        continue;
      if (oldest == nullptr || entry->waiters.since() < oldest->waiters.since())
        oldest = entry.get();
    }
    return oldest;
  }

  // Nothing has been given back since it was refused.
  bool lacks_memory(const Entry& entry) const REQUIRES(mu_) {
    return entry.status.state != ModelState::kLoading && entry.vain &&
           entry.vain->returns == returns_ && !gives_back_ && retired_.empty();
  }

  // Time alone loads it no more.
  bool waits_in_vain(const Entry& entry) const REQUIRES(mu_) {
    const bool failed = entry.status.state == ModelState::kFailed;
    if (failed && !is_for_memory(entry.status.code)) return true;
    if (!lacks_memory(entry)) return false;
    return entry.vain->code == ErrorCode::kDoesNotFit || !others_can_make_room(entry);
  }

  bool others_can_make_room(const Entry& wanted) const REQUIRES(mu_) {
    const bool loads = std::ranges::any_of(entries_, [&](const auto& entry) {
      return entry.get() != &wanted && entry->status.state == ModelState::kLoading;
    });
    return loads || can_make_room(loaded());
  }

  std::vector<LoadedModel> loaded() const REQUIRES(mu_) {
    std::vector<LoadedModel> models;
    if (options_.ledger == nullptr) return models;
    for (const auto& entry : entries_) {
      if (entry->status.engine == nullptr) continue;
      models.push_back({.name = entry->status.name,
                        .pinned = entry->status.pinned,
                        .busy = entry->is_busy(),
                        .used = entry->used,
                        .ready_since = entry->ready_since});
    }
    return models;
  }

  // One model at a time leaves, for one; then that one is tried again.
  void make_room() REQUIRES(mu_) {
    const Entry* wanted = oldest_wanted();
    if (wanted == nullptr || !lacks_memory(*wanted)) return all_stay();
    const std::string why = "made room for '" + wanted->status.name + "'";
    for (const auto& entry : entries_) {
      if (entry->status.state != ModelState::kLeaving) continue;
      if (entry->makes_room && !entry->is_busy()) rest(*entry, why, "room");
      return;
    }
    const auto name = choose_for_room(loaded(), wanted->waiters.since(), clock_.now());
    if (!name) return;
    Entry& leaving = *entry_of(*name);
    if (!leaving.is_busy()) return rest(leaving, why, "room");
    leaving.leave_for(wanted->status.name);
  }

  // Nobody needs room any more.
  void all_stay() REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->makes_room) entry->stay();
    }
  }

  void answer_waiters(DueCalls& due) REQUIRES(mu_) {
    for (const auto& entry : entries_) {
      if (entry->waiters.empty()) continue;
      if (closed_) {
        entry->waiters.refuse(draining(), due);
      } else if (entry->status.state == ModelState::kReady) {
        entry->waiters.ready(entry->hold, due);
      } else if (waits_in_vain(*entry)) {
        entry->waiters.refuse(not_ready(entry->status), due);
      } else {
        entry->waiters.look(clock_.now(), not_ready(entry->status), due);
      }
      entry->status.waiting = entry->waiters.size();
    }
  }

  std::size_t waiting() const REQUIRES(mu_) {
    std::size_t count = 0;
    for (const auto& entry : entries_) count += entry->waiters.size();
    return count;
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

  // None while memory is being given back: it is room for the next. While somebody waits for a
  // model, no other takes its room.
  Entry* next_due() const REQUIRES(mu_) {
    if (gives_back_ || !retired_.empty()) return nullptr;
    const Rooms rooms = this->rooms();
    const auto is_due = [&](const Entry& entry) { return entry.retry.is_due(clock_.now(), rooms); };
    if (Entry* wanted = oldest_wanted()) {
      return lacks_memory(*wanted) && !is_due(*wanted) ? nullptr : wanted;
    }
    for (const auto& entry : entries_) {
      if (entry->status.engine == nullptr && !entry->rests && is_due(*entry)) return entry.get();
    }
    return nullptr;
  }

  void load(Entry& entry, const std::stop_token& stop) {
    const Rooms before = rooms();
    std::stop_source giving_up;
    ServedModel::Vain vain{};
    {
      MutexLock lock(mu_);
      giving_up = entry.begin();
      vain.returns = returns_;
    }
    const std::stop_callback ending(stop, [&] { giving_up.request_stop(); });
    bool had_begun = false;
    const auto progress = [&](double share) {
      had_begun = true;
      MutexLock lock(mu_);
      entry.status.progress = std::clamp(share, 0.0, 1.0);
    };
    auto engine = load_safely(entry.loader, progress, giving_up.get_token());
    MutexLock lock(mu_);
    has_changed();
    if (engine && stop.stop_requested()) return retired_.push_back(*std::move(engine));
    if (engine) {
      if (options_.metrics != nullptr) options_.metrics->count_load(entry.status.name);
      return entry.become_ready(*std::move(engine), clock_.now());
    }
    const Error& why = engine.error();
    if (entry.was_told_to_give_up() && why.code == ErrorCode::kCancelled)
      return entry.has_given_up();
    if (!is_for_memory(why.code)) return retire(entry.fail_for(why, clock_.now()));
    vain.code = why.code;
    entry.retry.refused(why.code, had_begun, least_of(before, rooms()), clock_.now());
    entry.be_refused(why, vain, others_can_make_room(entry));
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
  const RegistryOptions options_;
  mutable Mutex mu_;
  CondVar changed_;
  std::vector<std::unique_ptr<Entry>> entries_ GUARDED_BY(mu_);
  std::vector<RetiredEngine> retired_ GUARDED_BY(mu_);  // to be destroyed
  bool gives_back_ GUARDED_BY(mu_) = false;             // some are, just now
  std::uint64_t returns_ GUARDED_BY(mu_) = 0;           // how often some were
  bool is_new_ GUARDED_BY(mu_) = false;                 // since the watcher looked
  bool closed_ GUARDED_BY(mu_) = false;
  std::jthread watcher_;  // these last: they use all of the above
  std::jthread loader_;
};

EngineRegistry::EngineRegistry(const Clock& clock, const RegistryOptions& options)
    : impl_(std::make_unique<Impl>(clock, options)) {}
EngineRegistry::~EngineRegistry() = default;
Status EngineRegistry::add(std::string name, EngineLoader loader, ModelKeeping keeping) {
  return impl_->add(std::move(name), std::move(loader), keeping);
}
Status EngineRegistry::add_alias(std::string alias, std::string_view name) {
  return impl_->add_alias(std::move(alias), name);
}
Result<std::shared_ptr<TextEngine>> EngineRegistry::find(std::string_view name) const {
  return impl_->find(name);
}
Result<std::optional<ModelHold>> EngineRegistry::want(std::string_view name, TimePoint latest,
                                                      std::stop_token gone, ModelCalls calls) {
  return impl_->want(name, latest, std::move(gone), std::move(calls));
}
std::vector<ModelStatus> EngineRegistry::list() const { return impl_->list(); }
bool EngineRegistry::ready() const { return impl_->ready(); }
void EngineRegistry::look() { impl_->look(); }
void EngineRegistry::drain(TimePoint deadline) { impl_->drain(deadline); }

}  // namespace gogrid

#include "resource/policy_store.h"

#include <algorithm>
#include <utility>

#include "base/files.h"
#include "obs/log.h"
#include "resource/policy_json.h"

namespace gogrid {
namespace {

constexpr std::size_t kShownFaults = 32;

// Later settings stand over earlier ones of the same name; a mode over all but the devices' own.
void merge(std::span<const PolicySetting> settings, std::vector<PolicySetting>& changes) {
  const auto is_mode = [](const PolicySetting& setting) { return setting.name == "mode"; };
  if (std::ranges::any_of(settings, is_mode)) {
    std::erase_if(changes,
                  [](const PolicySetting& old) { return !old.name.starts_with("devices."); });
  }
  for (const PolicySetting& setting : settings) {
    std::erase_if(changes, [&](const PolicySetting& old) { return old.name == setting.name; });
    changes.push_back(setting);
  }
}

// A null for a device that has nothing of its own says nothing: devices come and go, the file must
// not grow with each that ever was.
void drop_idle_nulls(const ResourcePolicy& configured, std::vector<PolicySetting>& changes) {
  std::erase_if(changes, [&](const PolicySetting& setting) {
    return std::holds_alternative<std::monostate>(setting.value) &&
           with_settings(configured, std::span(&setting, 1)) == configured;
  });
}

Status corrupt(const std::filesystem::path& file, const std::string& why) {
  return fail(ErrorCode::kCorrupt, "[policy_store] " + file.string() + ": " + why +
                                       "; remove the file to go back to what is configured");
}

Result<std::vector<PolicySetting>> read(const std::filesystem::path& file) {
  const auto mapped = MappedFile::open(file);
  // Only a file that is not there says that nothing was changed.
  if (!mapped && mapped.error().code == ErrorCode::kNotFound) return std::vector<PolicySetting>{};
  if (!mapped) return std::unexpected(mapped.error());
  const auto bytes = mapped->bytes();
  auto settings = parse_policy_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!settings) return std::unexpected(corrupt(file, settings.error().message).error());
  return settings;
}

}  // namespace

Error error_of(std::span<const PolicyFault> faults) {
  std::string text;
  for (const PolicyFault& fault : faults.first(std::min(faults.size(), kShownFaults))) {
    text += (text.empty() ? "" : "; ") + fault.message;
  }
  if (faults.size() > kShownFaults) {
    text += "; and " + std::to_string(faults.size() - kShownFaults) + " more";
  }
  return {ErrorCode::kInvalidArgument, text, faults.empty() ? "" : faults.front().name, {}};
}

PolicyStore::PolicyStore(ResourcePolicy configured, std::filesystem::path file)
    : configured_(std::move(configured)),
      file_(std::move(file)),
      current_(std::make_shared<const ResourcePolicy>(configured_)) {}

Result<std::unique_ptr<PolicyStore>> PolicyStore::open(ResourcePolicy configured,
                                                       std::filesystem::path file) {
  GOGRID_ASSIGN_OR_RETURN(auto changes, read(file));
  auto policy = with_settings(configured, changes);
  if (!policy) {
    return std::unexpected(corrupt(file, error_of(policy.error()).message).error());
  }
  std::unique_ptr<PolicyStore> store(new PolicyStore(std::move(configured), std::move(file)));
  if (!changes.empty()) {
    log::info("policy_changes_kept", {{"file", store->file_.native()},
                                      {"count", static_cast<std::uint64_t>(changes.size())}});
  }
  MutexLock lock(store->writing_);
  store->put(*std::move(policy), std::move(changes));
  return store;
}

PolicyStore::Snapshot PolicyStore::current() const {
  MutexLock lock(mu_);
  return current_;
}

std::vector<PolicySetting> PolicyStore::changes() const {
  MutexLock lock(mu_);
  return changes_;
}

Result<PolicyStore::Snapshot> PolicyStore::change(std::span<const PolicySetting> settings,
                                                  std::string_view who) {
  MutexLock lock(writing_);
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, FileLock::acquire(lock_file()));
  // Of the file: another server on the same data folder may have written its own since.
  GOGRID_ASSIGN_OR_RETURN(auto changes, read(file_));
  merge(settings, changes);
  // Checked as they came, so that each fault is told; made of what remains of all changes.
  if (auto checked = with_settings(*current(), settings); !checked) {
    return std::unexpected(error_of(checked.error()));
  }
  drop_idle_nulls(configured_, changes);
  auto policy = with_settings(base(), changes);
  if (!policy) return std::unexpected(error_of(policy.error()));
  GOGRID_RETURN_IF_ERROR(keep(changes));
  // Warnings: whoever lends the machine sees by default who changed what.
  log::warning("policy_changed", {{"by", who}, {"to", policy_json(settings)}});
  return put(*std::move(policy), std::move(changes));
}

Result<PolicyStore::Snapshot> PolicyStore::reset(std::string_view who) {
  MutexLock lock(writing_);
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, FileLock::acquire(lock_file()));
  GOGRID_RETURN_IF_ERROR(keep({}));
  log::warning("policy_reset", {{"by", who}});
  return put(base(), {});
}

void PolicyStore::schedule(std::optional<ResourceMode> mode) {
  MutexLock lock(writing_);
  if (mode == scheduled_) return;
  scheduled_ = mode;
  auto changes = this->changes();
  auto policy = with_settings(base(), changes);
  // They were allowed over another base, and no rule is about two values.
  if (!policy) {
    log::error("policy_schedule_failed", {{"why", error_of(policy.error()).message}});
    return;
  }
  log::info("policy_scheduled", {{"mode", mode ? name_of(*mode) : "as configured"}});
  put(*std::move(policy), std::move(changes));
}

void PolicyStore::listen(Listener listener) {
  MutexLock lock(writing_);
  listener(current());
  listeners_.push_back(std::move(listener));
}

std::filesystem::path PolicyStore::lock_file() const {
  return file_.parent_path() / ("." + file_.filename().string() + ".lock");
}

ResourcePolicy PolicyStore::base() const {
  if (!scheduled_) return configured_;
  ResourcePolicy policy = ResourcePolicy::of(*scheduled_);
  policy.devices = configured_.devices;
  // Who asks for a quiet hour wants no more of the machine to be taken in it than at others.
  return scheduled_ == ResourceMode::kConservative ? stricter(std::move(policy), configured_)
                                                   : policy;
}

Status PolicyStore::keep(std::span<const PolicySetting> changes) {
  const std::string text = policy_json(changes) + '\n';
  if (text.size() > kMaxPolicyText) {
    return fail(ErrorCode::kTooLarge, "[policy_store] changes of at most " +
                                          std::to_string(kMaxPolicyText) +
                                          " bytes expected: " + std::to_string(text.size()));
  }
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(file_));
  GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

PolicyStore::Snapshot PolicyStore::put(ResourcePolicy policy, std::vector<PolicySetting> changes) {
  const auto snapshot = std::make_shared<const ResourcePolicy>(std::move(policy));
  {
    MutexLock lock(mu_);
    current_ = snapshot;
    changes_ = std::move(changes);
  }
  for (const Listener& listener : listeners_) {
    try {
      listener(snapshot);
    } catch (const std::exception& thrown) {  // the others must hear of it all the same
      log::error("policy_listener_failed", {{"error", std::string_view(thrown.what())}});
    }
  }
  return snapshot;
}

}  // namespace gogrid

// The policy in force, and the changes to it that outlive the process.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "resource/resource_policy.h"

namespace gogrid {

// What was configured, over it what the schedule says at this hour, and over both the changes that
// people made since, which are kept in a file until they are taken back. A change is whole or not
// at all: readers hold a snapshot, which never changes under them, and never wait for the disk.
// Several stores may share a file: a change is made over what all have written, and is in force in
// the others at their next change or start. Thread-safe.
class PolicyStore {
 public:
  using Snapshot = std::shared_ptr<const ResourcePolicy>;
  // Called in the order of the changes, one at a time: must not change the store, nor block.
  using Listener = std::function<void(const Snapshot&)>;

  // Reads the changes of earlier runs, if `file` exists. kCorrupt, naming the file, when it is
  // damaged or its values are not allowed (any more): better no start than a limit that is gone.
  static Result<std::unique_ptr<PolicyStore>> open(ResourcePolicy configured,
                                                   std::filesystem::path file);

  Snapshot current() const EXCLUDES(mu_);
  // The settings that differ from what was configured by people's changes; empty: none.
  std::vector<PolicySetting> changes() const EXCLUDES(mu_);

  // In force when it returns, and on the disk. kInvalidArgument with all that is wrong, and then
  // nothing changed; kIo, kNotFound when it cannot be kept, and then nothing changed either. `who`
  // is for the log.
  Result<Snapshot> change(std::span<const PolicySetting> settings, std::string_view who)
      EXCLUDES(writing_, mu_);
  // Back to what was configured.
  Result<Snapshot> reset(std::string_view who) EXCLUDES(writing_, mu_);
  // The mode of this hour, in place of what was configured for all devices; empty: none.
  void schedule(std::optional<ResourceMode> mode) EXCLUDES(writing_, mu_);

  // Is told at once, and of each change after. Must outlive the store.
  void listen(Listener listener) EXCLUDES(writing_, mu_);

 private:
  PolicyStore(ResourcePolicy configured, std::filesystem::path file);
  std::filesystem::path lock_file() const;
  Status keep(std::span<const PolicySetting> changes) REQUIRES(writing_);
  ResourcePolicy base() const REQUIRES(writing_);
  Snapshot put(ResourcePolicy policy, std::vector<PolicySetting> changes) REQUIRES(writing_)
      EXCLUDES(mu_);

  const ResourcePolicy configured_;
  const std::filesystem::path file_;
  Mutex writing_;  // before mu_: one change at a time, with the disk and the listeners
  std::optional<ResourceMode> scheduled_ GUARDED_BY(writing_);
  std::vector<Listener> listeners_ GUARDED_BY(writing_);
  mutable Mutex mu_;  // for the exchange alone
  Snapshot current_ GUARDED_BY(mu_);
  std::vector<PolicySetting> changes_ GUARDED_BY(mu_);
};

// "a: …; b: …", of parameter a. At most a few in full, and how many more.
Error error_of(std::span<const PolicyFault> faults);

}  // namespace gogrid

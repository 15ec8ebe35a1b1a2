#include "model/model_pull.h"

#include <thread>
#include <vector>

#include "base/format.h"
#include "model/file_fetch.h"
#include "model/gguf_merger.h"
#include "model/part_links.h"
#include "model/partial_file.h"

namespace gogrid {
namespace {

constexpr Duration kLockLook = std::chrono::milliseconds(200);
constexpr int kLooks = 2;  // at a version that is not the one that is kept

// What a file is known by while it is on its way: its content where that is known, else its
// address; a model in several files by what these are known by.
std::string key_of(const RemoteFile& remote) {
  if (!remote.parts.empty()) return "parts-" + remote.validator;
  if (!remote.sha256.empty()) return "sha256-" + remote.sha256;
  Sha256 hash;
  hash.update(remote.url.text());
  return "url-" + hash.finish();
}

PartialState state_of(const RemoteFile& remote) {
  return {remote.source, remote.size, remote.sha256, remote.validator, {}};
}

bool is_of_no_use(const Error& error) {
  // kUnsupported: right, but nothing that this version can hold.
  return error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kUnsupported;
}

// One file that is here, whole and with the right digest.
struct WholeFile {
  PartialFile partial;
  Fetched fetched;
  Bytes kept = 0;  // of earlier tries
};

class ModelPull {
 public:
  ModelPull(ModelLibrary& library, HttpClient& client, const RemoteFile& remote,
            const std::string& name, const std::optional<Credential>& credential,
            const PullRules& rules, const PullHooks& hooks, const Clock& clock)
      : library_(library),
        client_(client),
        remote_(remote),
        name_(name),
        credential_(credential),
        rules_(rules),
        hooks_(hooks),
        clock_(clock),
        folder_(library.incoming()),
        key_(key_of(remote)) {}

  Result<PullReport> run();

 private:
  Result<std::optional<ModelEntry>> under_this_name() const;
  Status confirm_version();
  std::string known_digest() const;
  bool came_from_here(const ModelEntry& entry) const;
  Status tidy() const;
  Status tidy_locked() const;
  Result<PartialLock> take_lock(const std::string& key) const;
  Result<std::optional<PullReport>> already_here();
  Result<PullReport> fetch();
  Result<WholeFile> fetch_whole(const RemoteFile& remote, const PullHooks& hooks);
  Result<PullReport> fetch_parts();
  Status expect_room() const;
  Progress unless_paused(int half) const;
  Result<ModelEntry> join(std::span<const std::filesystem::path> files) const;

  ModelLibrary& library_;
  HttpClient& client_;
  RemoteFile remote_;
  const std::string& name_;
  const std::optional<Credential>& credential_;
  const PullRules& rules_;
  const PullHooks& hooks_;
  const Clock& clock_;
  std::filesystem::path links_folder() const { return folder_ / (key_ + ".parts"); }

  const std::filesystem::path folder_;
  const std::string key_;
};

// Where a server tells one version from another, one answer with another version is no proof that
// the file changed: one of many servers behind an address may name it differently. What is kept is
// given up only when it is told again.
Status ModelPull::confirm_version() {
  if (!remote_.sha256.empty() || !remote_.parts.empty()) return {};
  const auto kept = PartialFile::record(folder_, key_);
  for (int look = 0; look < kLooks; ++look) {
    if (!kept || kept->validator.empty() || continues(*kept, state_of(remote_))) return {};
    GOGRID_ASSIGN_OR_RETURN(remote_,
                            look_again(client_, remote_, credential_, rules_, hooks_, clock_));
  }
  return {};
}

// The digest of the content, when somebody told, or when an earlier pull of the same version did.
// Empty otherwise.
std::string ModelPull::known_digest() const {
  if (!remote_.sha256.empty()) return remote_.sha256;
  const auto earlier = PartialFile::finished(folder_, key_);
  return earlier && continues(*earlier, state_of(remote_)) ? earlier->sha256 : std::string();
}

// A name without its content, as after a crash, is free: what is pulled mends it.
Result<std::optional<ModelEntry>> ModelPull::under_this_name() const {
  auto entry = library_.find(name_);
  if (!entry &&
      (entry.error().code == ErrorCode::kNotFound || entry.error().code == ErrorCode::kCorrupt))
    return std::optional<ModelEntry>();
  if (!entry) return std::unexpected(entry.error());
  const std::string known = known_digest();
  if (entry->digest == known) return std::optional(*std::move(entry));
  if (known.empty() && came_from_here(*entry)) return std::optional<ModelEntry>();
  return fail(
      ErrorCode::kInvalidArgument,
      format_text("[pull] name '{}': already given to other content ({}){}; remove it first or "
                  "choose another with --name",
                  name_, entry->digest,
                  known.empty() ? ", or to this: the server names no digest (--sha256 does)" : ""),
      "name");
}

// Whether this address brought the model, and its server does not tell one version from another:
// then only fetching it shows whether it is the same.
bool ModelPull::came_from_here(const ModelEntry& entry) const {
  const auto earlier = PartialFile::finished(folder_, key_);
  return earlier && earlier->sha256 == entry.digest && remote_.size == entry.size &&
         (remote_.validator.empty() || earlier->validator.empty());
}

// What a pull leaves that ended in its last moment. Whoever works on it now may need it.
Status ModelPull::tidy() const {
  GOGRID_ASSIGN_OR_RETURN(const auto lock, PartialLock::try_take(folder_, key_));
  if (!lock) return {};
  return tidy_locked();
}

// For whoever holds the lock.
Status ModelPull::tidy_locked() const {
  GOGRID_RETURN_IF_ERROR(PartialFile::tidy(folder_, key_, !remote_.sha256.empty()));
  std::error_code ignored;
  std::filesystem::remove_all(links_folder(), ignored);
  for (const RemoteFile& part : remote_.parts) {
    GOGRID_ASSIGN_OR_RETURN(const auto lock, PartialLock::try_take(folder_, key_of(part)));
    if (lock) GOGRID_RETURN_IF_ERROR(PartialFile::tidy(folder_, key_of(part), true));
  }
  return {};
}

Result<PartialLock> ModelPull::take_lock(const std::string& key) const {
  for (bool told = false;; told = true) {
    GOGRID_ASSIGN_OR_RETURN(auto lock, PartialLock::try_take(folder_, key));
    if (lock) return *std::move(lock);
    if (!told) hooks_.say("another pull fetches " + remote_.source + ": waits for it");
    if (hooks_.stopped()) {
      return fail(ErrorCode::kCancelled,
                  format_text("[pull] {}: stopped while another pull fetches it", remote_.source));
    }
    std::this_thread::sleep_for(kLockLook);
  }
}

Result<std::optional<PullReport>> ModelPull::already_here() {
  GOGRID_ASSIGN_OR_RETURN(auto named, under_this_name());
  if (named) return PullReport{*std::move(named), 0, 0, true};
  const auto same = library_.find_digest(known_digest());
  if (!same) return std::optional<PullReport>();
  GOGRID_ASSIGN_OR_RETURN(auto entry,
                          library_.import_file(same->path, name_, same->digest, hooks_.progress));
  return PullReport{std::move(entry), 0, 0, true};
}

Result<WholeFile> ModelPull::fetch_whole(const RemoteFile& remote, const PullHooks& hooks) {
  GOGRID_ASSIGN_OR_RETURN(PartialFile partial,
                          PartialFile::open(folder_, key_of(remote), state_of(remote)));
  const Bytes kept = partial.present().total();
  if (kept > 0)
    hooks.say(
        format_text("goes on: {} of {} are here", format_bytes(kept), format_bytes(remote.size)));
  auto fetched = fetch_file(client_, remote, partial, credential_, rules_, hooks, clock_);
  if (fetched && !remote.sha256.empty() && fetched->sha256 != remote.sha256) {
    fetched = fail(ErrorCode::kCorrupt,
                   format_text("[pull] {}: expected SHA-256 {}: {}; what came was thrown away",
                               remote.source, remote.sha256, fetched->sha256));
  }
  if (!fetched) {
    if (is_of_no_use(fetched.error())) GOGRID_RETURN_IF_ERROR(partial.discard());
    return std::unexpected(std::move(fetched).error());
  }
  // Before the library has it: whatever happens from here on, it is known what this address held.
  GOGRID_RETURN_IF_ERROR(partial.finish(fetched->sha256));
  return WholeFile{std::move(partial), *std::move(fetched), kept};
}

Result<PullReport> ModelPull::fetch() {
  if (!remote_.parts.empty()) return fetch_parts();
  GOGRID_ASSIGN_OR_RETURN(WholeFile whole, fetch_whole(remote_, hooks_));
  auto entry = library_.adopt_file(whole.partial.path(), name_, whole.fetched.sha256);
  if (!entry) {
    if (is_of_no_use(entry.error())) GOGRID_RETURN_IF_ERROR(whole.partial.discard());
    return std::unexpected(std::move(entry).error());
  }
  GOGRID_RETURN_IF_ERROR(PartialFile::tidy(folder_, key_, !remote_.sha256.empty()));
  return PullReport{*std::move(entry), whole.fetched.came, whole.kept, false};
}

// Room for the parts, and for the one file that is made of them while they are still there.
Status ModelPull::expect_room() const {
  Bytes needed = remote_.size;
  for (const RemoteFile& part : remote_.parts)
    needed += PartialFile::missing_room(folder_, key_of(part), part.size);
  std::error_code error;
  const Bytes free = std::filesystem::space(folder_, error).available;
  if (error || free >= needed) return {};
  return fail(ErrorCode::kExhausted,
              format_text("[pull] expected {} free for {}, its {} parts and what is made of them: "
                          "{} has {}",
                          format_bytes(needed), remote_.source, remote_.parts.size(),
                          folder_.string(), format_bytes(free)));
}

// All parts are kept, and held against other pulls, until the library has the whole.
Result<PullReport> ModelPull::fetch_parts() {
  GOGRID_RETURN_IF_ERROR(expect_room());
  std::vector<PartialLock> locks;
  std::vector<std::filesystem::path> files;
  PullReport report;
  Bytes before = 0;
  for (const RemoteFile& part : remote_.parts) {
    GOGRID_ASSIGN_OR_RETURN(PartialLock lock, take_lock(key_of(part)));
    locks.push_back(std::move(lock));
    PullHooks hooks = hooks_;
    hooks.progress = [&](Bytes done, Bytes) {
      return !hooks_.progress || hooks_.progress(before + done, remote_.size);
    };
    GOGRID_ASSIGN_OR_RETURN(const WholeFile whole, fetch_whole(part, hooks));
    before += part.size;
    report.fetched += whole.fetched.came;
    report.kept += whole.kept;
    files.push_back(whole.partial.path());
  }
  hooks_.say(format_text("all {} parts are here: one file is made of them", files.size()));
  auto entry = join(files);
  const bool too_large = !entry && entry.error().code == ErrorCode::kTooLarge;  // all together
  if (entry || too_large || is_of_no_use(entry.error())) {
    for (const RemoteFile& part : remote_.parts)
      GOGRID_RETURN_IF_ERROR(PartialFile::tidy(folder_, key_of(part), true));
  }
  if (!entry) return std::unexpected(std::move(entry).error());
  report.entry = *std::move(entry);
  return report;
}

// Of the two halves of making one file: waits while the pull is to wait.
Progress ModelPull::unless_paused(int half) const {
  return [this, half](Bytes done, Bytes total) {
    if (hooks_.progress && !hooks_.progress(done + (half == 0 ? 0 : total), 2 * total))
      return false;
    while (hooks_.keep_going && !hooks_.keep_going()) {
      if (hooks_.stopped()) return false;
      std::this_thread::sleep_for(kLockLook);
    }
    return !hooks_.stopped();
  };
}

Result<ModelEntry> ModelPull::join(std::span<const std::filesystem::path> files) const {
  GOGRID_ASSIGN_OR_RETURN(const PartLinks links, PartLinks::make(links_folder(), files));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile source, GgufFile::open(links.first()));
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, library_.begin(name_));
  GOGRID_ASSIGN_OR_RETURN(file, write_merged(source, std::move(file), unless_paused(0)));
  GOGRID_ASSIGN_OR_RETURN(std::string digest, sha256_file(file.path(), unless_paused(1)));
  GOGRID_RETURN_IF_ERROR(PartialFile::note_finished(folder_, key_, state_of(remote_), digest));
  return library_.import_written(std::move(file), name_, {}, {}, std::move(digest));
}

Result<PullReport> ModelPull::run() {
  GOGRID_RETURN_IF_ERROR(confirm_version());
  // Refusals come before waiting, and before anything is fetched.
  GOGRID_ASSIGN_OR_RETURN(auto named, under_this_name());
  if (named) {
    GOGRID_RETURN_IF_ERROR(tidy());
    return PullReport{*std::move(named), 0, 0, true};
  }
  GOGRID_ASSIGN_OR_RETURN(const PartialLock alone, take_lock(key_));
  GOGRID_ASSIGN_OR_RETURN(auto here, already_here());
  if (here) {
    GOGRID_RETURN_IF_ERROR(tidy_locked());
    return *std::move(here);
  }
  return fetch();
}

}  // namespace

Result<PullReport> pull_model(ModelLibrary& library, HttpClient& client, const RemoteFile& remote,
                              const std::string& name, const std::optional<Credential>& credential,
                              const PullRules& rules, const PullHooks& hooks, const Clock& clock) {
  return ModelPull(library, client, remote, name, credential, rules, hooks, clock).run();
}

}  // namespace gogrid

#include "model/model_library.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "base/files.h"
#include "base/format.h"
#include "base/nearest.h"
#include "base/text.h"
#include "model/gguf_file.h"
#include "model/gguf_merger.h"
#include "model/model_description.h"
#include "model/model_manifest.h"
#include "model/split_file.h"
#include "obs/log.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxName = 63;
constexpr std::size_t kMaxText = 256;  // of what a file says of itself
constexpr std::string_view kManifestExtension = ".model";
constexpr std::string_view kBlobExtension = ".gguf";
constexpr Bytes kMaxManifest = 64 * kKiB;
constexpr Bytes kCopyStep = 8 * kMiB;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

Result<ModelEntry> describe(const GgufFile& file, std::string_view name) {
  GOGRID_RETURN_IF_ERROR(check_is_whole(file, "model_library"));
  const auto architecture = file.string_of("general.architecture");
  if (!architecture) {
    return fail(ErrorCode::kCorrupt, format_text("[model_library] {}: expected the key "
                                                 "general.architecture: absent",
                                                 file.path().string()));
  }
  ModelEntry entry;
  entry.name = name;
  entry.size = file.file_size();
  entry.architecture = printable(*architecture, kMaxText);
  entry.quantization = quantization_of(file);
  entry.license = printable(file.string_of("general.license").value_or("unknown"), kMaxText);
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  entry.imported_at = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
  return entry;
}

std::unexpected<Error> cancelled(const fs::path& file) {
  return fail(ErrorCode::kCancelled,
              format_text("[model_library] import of {}: cancelled", file.string()));
}

// Adds what `file` has from `at` to its end, read back from the disk's side.
Status hash_written(const AtomicFile& file, Bytes at, const fs::path& name, Sha256& hash,
                    std::span<std::byte> chunk) {
  while (at < file.size()) {
    const ssize_t got =
        ::pread(file.descriptor(), chunk.data(), std::min<Bytes>(chunk.size(), file.size() - at),
                static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return file_error("read back the copy of", name, errno);
    hash.update(chunk.first(static_cast<std::size_t>(got)));
    at += static_cast<Bytes>(got);
  }
  return {};
}

// Copies all of `source` into `target`; answers the digest of what is really in the copy.
Result<std::string> copy_and_hash(const GgufFile& source, AtomicFile& target,
                                  const Progress& progress) {
  Sha256 hash;
  std::vector<std::byte> chunk(kMiB);
  const Bytes total = source.file_size();
  while (target.size() < total) {
    const Bytes at = target.size();
    const Bytes step = std::min(total - at, kCopyStep);
    GOGRID_RETURN_IF_ERROR(target.copy_from(source.descriptor(), at, step));
    GOGRID_RETURN_IF_ERROR(hash_written(target, at, source.path(), hash, chunk));
    if (progress && !progress(target.size(), total)) return cancelled(source.path());
  }
  return hash.finish();
}

std::unexpected<Error> taken(const ModelEntry& existing) {
  return fail(ErrorCode::kInvalidArgument,
              format_text("[model_library] name '{}': already given to other content ({}); remove "
                          "it first or choose another",
                          existing.name, existing.digest),
              "name");
}

// `expected` may be empty: anything is right then.
Status check_digest(const fs::path& file, std::string_view digest, std::string_view expected) {
  if (expected.empty() || digest == expected) return {};
  return fail(ErrorCode::kCorrupt, format_text("[model_library] {}: expected SHA-256 {}: {}",
                                               file.string(), expected, digest));
}

}  // namespace

Status validate_model_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxName &&
                    std::ranges::all_of(name, is_name_character) && name.find_first_of("._-") != 0;
  if (good) return {};
  return fail(ErrorCode::kInvalidArgument,
              format_text("expected a model name of 1 to {} characters of a-z, 0-9, '.', '_' and "
                          "'-', beginning with a letter or digit: '{}'",
                          kMaxName, printable(name, kMaxName + 1)),
              "model");
}

// Puts a model's content under its final path. Empty: it should be there already.
using PutContent = std::function<Status(const fs::path&)>;

// What is on the disk first, should a crash come between the two. Content that no name tells of is
// removed by the next process; a name without its content is mended by the next import or pull.
enum class NameOrder : std::uint8_t {
  kContentFirst,
  kNameFirst,  // for content that has but one place on the disk, and was long in coming
};

// Everything is on the disk, so that several processes agree; nothing is remembered between calls.
// blobs/<digest>.gguf, names/<name>.model, .lock for whoever changes either.
struct ModelLibrary::State {
  fs::path folder;
  fs::path blobs = folder / "blobs";
  fs::path names = folder / "names";

  explicit State(fs::path root) : folder(std::move(root)) {}

  fs::path blob(std::string_view digest) const {
    return blobs / (std::string(digest) + std::string(kBlobExtension));
  }
  fs::path manifest(std::string_view name) const {
    return names / (std::string(name) + std::string(kManifestExtension));
  }
  Result<FileLock> lock() const { return FileLock::acquire(folder / ".lock"); }

  // Paths in `where` that end in `extension`.
  static Result<std::vector<fs::path>> files_in(const fs::path& where, std::string_view extension);
  std::vector<std::string> all_names() const;
  Result<ModelEntry> read(std::string_view name) const;
  // The same for whoever has no lock: what is not whole may be on its way.
  Result<ModelEntry> read_settled(std::string_view name) const;
  // Digests that some name uses; empty when a manifest cannot be read, for then nobody knows.
  std::optional<std::set<std::string>> used_digests() const;
  Status remove_leftovers() const;
  Status remove_unused_blobs() const;
  // The digest, if a blob of this very content is here already.
  Result<std::optional<std::string>> present(const fs::path& file, Bytes size,
                                             const Progress& progress) const;
  Result<ModelEntry> give_name(ModelEntry entry, const PutContent& put,
                               NameOrder order = NameOrder::kContentFirst) const;
};

Result<std::vector<fs::path>> ModelLibrary::State::files_in(const fs::path& where,
                                                            std::string_view extension) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::directory_iterator entries(where, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (entries->path().extension() == extension) found.push_back(entries->path());
  }
  if (error) return file_error("list", where, error.value());
  return found;
}

std::vector<std::string> ModelLibrary::State::all_names() const {
  std::vector<std::string> found;
  const auto manifests = files_in(names, kManifestExtension);
  if (!manifests) {
    log::error("model_names_unreadable", {{"why", std::string_view(manifests.error().message)}});
    return found;
  }
  for (const fs::path& path : *manifests) {
    if (validate_model_name(path.stem().native())) found.push_back(path.stem());
  }
  std::ranges::sort(found);
  return found;
}

Result<ModelEntry> ModelLibrary::State::read(std::string_view name) const {
  const fs::path path = manifest(name);
  GOGRID_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxManifest));
  GOGRID_ASSIGN_OR_RETURN(ModelEntry entry, parse_manifest(text, path.native()));
  entry.name = name;
  entry.path = blob(entry.digest);
  std::error_code error;
  const Bytes size = fs::file_size(entry.path, error);
  if (error || size != entry.size) {
    return fail(ErrorCode::kCorrupt,
                format_text("[model_library] model '{}': expected a file of {} bytes: {} {}; pull "
                            "or import it again, or remove it",
                            name, entry.size, entry.path.string(),
                            error ? "is absent" : format_text("has {}", size)));
  }
  return entry;
}

Result<ModelEntry> ModelLibrary::State::read_settled(std::string_view name) const {
  auto entry = read(name);
  if (entry || entry.error().code != ErrorCode::kCorrupt) return entry;
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, lock());
  return read(name);
}

std::optional<std::set<std::string>> ModelLibrary::State::used_digests() const {
  const auto manifests = files_in(names, kManifestExtension);
  if (!manifests) return std::nullopt;
  std::set<std::string> digests;
  for (const fs::path& path : *manifests) {
    const auto text = read_file(path, kMaxManifest);
    const auto digest = text ? manifest_digest(*text) : std::nullopt;
    if (!digest) return std::nullopt;
    digests.insert(*digest);
  }
  return digests;
}

Status ModelLibrary::State::remove_unused_blobs() const {
  const auto used = used_digests();
  if (!used) return {};
  GOGRID_ASSIGN_OR_RETURN(const auto contents, files_in(blobs, kBlobExtension));
  for (const fs::path& path : contents) {
    if (used->contains(path.stem())) continue;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return file_error("remove", path, errno);
  }
  return {};
}

// What a crash leaves: files half written, and content that has no name yet.
Status ModelLibrary::State::remove_leftovers() const {
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, lock());
  GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(blobs));
  GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(names));
  return remove_unused_blobs();
}

ModelLibrary::ModelLibrary(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelLibrary::ModelLibrary(ModelLibrary&&) noexcept = default;
ModelLibrary::~ModelLibrary() = default;

Result<ModelLibrary> ModelLibrary::open(fs::path folder) {
  auto state = std::make_unique<State>(std::move(folder));
  for (const fs::path& part : {state->blobs, state->names}) {
    std::error_code error;
    fs::create_directories(part, error);
    if (error) return file_error("create", part, error.value());
  }
  GOGRID_RETURN_IF_ERROR(state->remove_leftovers());
  return ModelLibrary(std::move(state));
}

// --- import

// Only a file of the same size can have the same content, so that a digest is taken first only
// where it may save the copy.
Result<std::optional<std::string>> ModelLibrary::State::present(const fs::path& file, Bytes size,
                                                                const Progress& progress) const {
  GOGRID_ASSIGN_OR_RETURN(const auto contents, files_in(blobs, kBlobExtension));
  std::error_code error;
  const auto same_size = [&](const fs::path& path) { return fs::file_size(path, error) == size; };
  if (std::ranges::none_of(contents, same_size)) return std::nullopt;
  GOGRID_ASSIGN_OR_RETURN(std::string digest, sha256_file(file, progress));
  if (!fs::exists(blob(digest), error)) return std::nullopt;
  return digest;
}

// Puts content and name under their final names. `put` is empty when the content is here already;
// kUnavailable when it was removed since.
Result<ModelEntry> ModelLibrary::State::give_name(ModelEntry entry, const PutContent& put,
                                                  NameOrder order) const {
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, lock());
  entry.path = blob(entry.digest);
  if (const auto existing = read(entry.name)) {
    if (existing->digest == entry.digest) return *existing;
    return taken(*existing);
  }
  std::error_code error;
  const bool here = fs::file_size(entry.path, error) == entry.size && !error;
  if (!here && !put) {
    return fail(ErrorCode::kUnavailable,
                format_text("[model_library] import of '{}': its content was removed meanwhile",
                            entry.name));
  }
  const bool put_last = !here && order == NameOrder::kNameFirst;
  if (!here && !put_last) GOGRID_RETURN_IF_ERROR(put(entry.path));
  GOGRID_RETURN_IF_ERROR(write_file(manifest(entry.name), format_manifest(entry)));
  if (!put_last) return entry;
  if (const Status placed = put(entry.path); !placed) {
    ::unlink(manifest(entry.name).c_str());
    return std::unexpected(placed.error());
  }
  return entry;
}

Result<ModelEntry> ModelLibrary::import_file(const fs::path& file, std::string_view name,
                                             std::string_view expected_digest,
                                             const Progress& progress) {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile source, GgufFile::open(file));
  if (source.part_paths().size() > 1) return import_parts(source, name, expected_digest, progress);
  GOGRID_ASSIGN_OR_RETURN(ModelEntry entry, describe(source, name));
  GOGRID_ASSIGN_OR_RETURN(const auto present, state_->present(file, entry.size, progress));
  if (present) {
    entry.digest = *present;
    GOGRID_RETURN_IF_ERROR(check_digest(file, entry.digest, expected_digest));
    auto named = state_->give_name(entry, {});
    if (named || named.error().code != ErrorCode::kUnavailable) return named;
  }
  GOGRID_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::create(state_->blobs / "import"));
  GOGRID_ASSIGN_OR_RETURN(entry.digest, copy_and_hash(source, copy, progress));
  GOGRID_RETURN_IF_ERROR(check_digest(file, entry.digest, expected_digest));
  return state_->give_name(std::move(entry),
                           [&](const fs::path& target) { return copy.commit_as(target); });
}

// Written and read back: each the half of the work.
Result<ModelEntry> ModelLibrary::import_parts(const GgufFile& source, std::string_view name,
                                              std::string_view expected_digest,
                                              const Progress& progress) {
  if (!expected_digest.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "[model_library] a SHA-256 is of one file: a model in parts becomes a file of its "
                "own",
                "sha256");
  }
  GOGRID_RETURN_IF_ERROR(describe(source, name));  // before anything is written
  const auto half = [&progress](int which) -> Progress {
    if (!progress) return {};
    return [&progress, which](Bytes done, Bytes total) {
      return progress(which == 0 ? done : total + done, 2 * total);
    };
  };
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(state_->blobs / "import"));
  GOGRID_ASSIGN_OR_RETURN(file, write_merged(source, std::move(file), half(0)));
  return import_written(std::move(file), name, half(1));
}

Result<ModelEntry> ModelLibrary::adopt_file(const fs::path& file, std::string_view name,
                                            std::string_view digest) {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  // By itself: no other file lies beside it that it could be a part with.
  GOGRID_ASSIGN_OR_RETURN(const MappedFile mapping, MappedFile::open(file));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile source, GgufFile::parse(mapping.bytes(), file.native()));
  GOGRID_ASSIGN_OR_RETURN(ModelEntry entry, describe(source, name));
  entry.digest = digest;
  // The bytes before the name that tells of them.
  if (::fsync(mapping.descriptor()) != 0) return file_error("sync", file, errno);
  return state_->give_name(
      std::move(entry),
      [&](const fs::path& target) -> Status {
        if (::rename(file.c_str(), target.c_str()) != 0)
          return file_error("rename to", target, errno);
        return sync_folder(state_->blobs);
      },
      NameOrder::kNameFirst);
}

fs::path ModelLibrary::incoming() const { return state_->folder / "incoming"; }

std::optional<ModelEntry> ModelLibrary::find_digest(std::string_view digest) const {
  for (ModelEntry& entry : list()) {
    if (entry.digest == digest) return std::move(entry);
  }
  return std::nullopt;
}

Result<AtomicFile> ModelLibrary::begin(std::string_view name) const {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  if (const auto existing = state_->read(name)) return taken(*existing);
  return AtomicFile::create(state_->blobs / "import");
}

Result<ModelEntry> ModelLibrary::import_written(AtomicFile written, std::string_view name,
                                                const Progress& progress,
                                                const std::optional<RepackRecord>& repacked,
                                                std::string digest) {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile source, GgufFile::open(written.path()));
  GOGRID_ASSIGN_OR_RETURN(ModelEntry entry, describe(source, name));
  if (digest.empty()) {
    GOGRID_ASSIGN_OR_RETURN(digest, sha256_file(written.path(), progress));
  }
  entry.digest = std::move(digest);
  entry.repacked = repacked;
  return state_->give_name(std::move(entry),
                           [&](const fs::path& target) { return written.commit_as(target); });
}

Status ModelLibrary::record_loss(std::string_view name, std::string_view digest,
                                 const ModelLoss& loss) {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  if (!is_finite(loss)) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[model_library] loss of '{}': expected finite numbers: perplexity {}, "
                            "base {}, KL {}",
                            name, loss.perplexity, loss.base_perplexity, loss.mean_kl));
  }
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, state_->lock());
  GOGRID_ASSIGN_OR_RETURN(ModelEntry entry, state_->read(name));
  if (entry.digest != digest) {
    return fail(ErrorCode::kUnavailable,
                format_text("[model_library] loss of '{}': it is another model by now", name));
  }
  entry.loss = loss;
  return write_file(state_->manifest(name), format_manifest(entry));
}

// --- the rest

std::vector<ModelEntry> ModelLibrary::list() const {
  std::vector<ModelEntry> entries;
  for (const std::string& name : state_->all_names()) {
    auto entry = state_->read_settled(name);
    if (entry) {
      entries.push_back(*std::move(entry));
    } else if (entry.error().code != ErrorCode::kNotFound) {  // not: removed since all_names()
      log::warning("model_unreadable", {{"name", std::string_view(name)},
                                        {"why", std::string_view(entry.error().message)}});
    }
  }
  return entries;
}

Result<ModelEntry> ModelLibrary::find(std::string_view name) const {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  auto entry = state_->read_settled(name);
  if (entry || entry.error().code != ErrorCode::kNotFound) return entry;
  return fail(ErrorCode::kNotFound,
              format_text("no model is named '{}'{}", name, suggestion(name, state_->all_names())),
              "model");
}

Status ModelLibrary::verify(std::string_view name, const Progress& progress) const {
  GOGRID_ASSIGN_OR_RETURN(const ModelEntry entry, find(name));
  GOGRID_ASSIGN_OR_RETURN(const std::string digest, sha256_file(entry.path, progress));
  if (digest == entry.digest) return {};
  return fail(ErrorCode::kCorrupt,
              format_text("[model_library] model '{}': expected SHA-256 {}: {}", name, entry.digest,
                          digest));
}

Status ModelLibrary::remove(std::string_view name) {
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, state_->lock());
  const fs::path manifest = state_->manifest(name);
  if (::unlink(manifest.c_str()) != 0) {
    if (errno != ENOENT) return file_error("remove", manifest, errno);
    return fail(
        ErrorCode::kNotFound,
        format_text("no model is named '{}'{}", name, suggestion(name, state_->all_names())),
        "model");
  }
  // The name must be gone for good before its content goes.
  GOGRID_RETURN_IF_ERROR(sync_folder(state_->names));
  return state_->remove_unused_blobs();
}

}  // namespace gogrid

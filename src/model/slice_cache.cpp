#include "model/slice_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <vector>

#include "base/files.h"
#include "base/format.h"
#include "base/sha256.h"
#include "obs/log.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigestLength = 64;
constexpr std::string_view kExtension = ".gguf";

bool is_digest(std::string_view text) {
  return text.size() == kDigestLength &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string name_of(std::string_view source_digest, LayerRange range,
                    const std::optional<WeightType>& type) {
  Sha256 hash;
  hash.update(format_text("gogrid slice {} of {} layers {}", kSliceFormatVersion, source_digest,
                          to_string(range)));
  if (type) hash.update(format_text(" as {}", type->name));
  return hash.finish() + std::string(kExtension);
}

bool lock(int fd, int operation) {
  while (::flock(fd, operation) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

// Its modification time is when a slice was last used: file systems do not keep access times well.
void mark_used(int fd) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const timespec times[2] = {now, now};
  // A slice that cannot be marked is evicted early, and then made again.
  (void)::futimens(fd, times);
}

// Whether the file is the whole slice that its name promises.
Status check_slice(const fs::path& path, LayerRange range, const std::optional<WeightType>& type) {
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(path));
  if (file.unsigned_of("gogrid.slice.version") != kSliceFormatVersion ||
      file.unsigned_of("gogrid.slice.first_layer") != range.first ||
      file.unsigned_of("gogrid.slice.last_layer") != range.last ||
      file.string_of("gogrid.slice.type").value_or("") != (type ? type->name : "")) {
    return fail(ErrorCode::kCorrupt,
                format_text("[slice_cache] {}: expected the slice of layers {}{}", path.string(),
                            to_string(range), type ? format_text(" as {}", type->name) : ""));
  }
  return {};
}

struct Slice {
  fs::path path;
  Bytes size = 0;
  timespec used{};
};

bool used_before(const Slice& a, const Slice& b) {
  return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec
                                        : a.used.tv_nsec < b.used.tv_nsec;
}

// Least recently used first. Other files in the folder are none of ours.
Result<std::vector<Slice>> slices_in(const fs::path& folder) {
  std::vector<Slice> slices;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const fs::path& path = entries->path();
    struct stat info{};
    if (path.extension() != kExtension || !is_digest(path.stem().native())) continue;
    if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    slices.push_back({path, static_cast<Bytes>(info.st_size), info.st_mtim});
  }
  if (error) return file_error("list", folder, error.value());
  std::ranges::sort(slices, used_before);
  return slices;
}

// False when somebody holds it.
bool evict(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid() || !lock(file.get(), LOCK_EX | LOCK_NB)) return false;
  // Unlinked under the lock: take() sees that its file has lost its name, and looks again.
  return ::unlink(path.c_str()) == 0;
}

}  // namespace

SliceCache::SliceCache(fs::path folder, Bytes capacity)
    : folder_(std::move(folder)), capacity_(capacity) {}

// An existing slice, checked and locked; kNotFound when there is none.
Result<std::shared_ptr<const SliceCache::Hold>> SliceCache::take(
    const fs::path& path, LayerRange range, const std::optional<WeightType>& type) const {
  while (true) {
    GOGRID_ASSIGN_OR_RETURN(FileDescriptor file, open_regular(path));
    if (!lock(file.get(), LOCK_SH)) return file_error("lock", path, errno);
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return file_error("look at", path, errno);
    if (info.st_nlink == 0) continue;  // evicted between our open and our lock
    GOGRID_RETURN_IF_ERROR(check_slice(path, range, type));
    mark_used(file.get());
    return std::make_shared<const Hold>(path, std::move(file));
  }
}

Status SliceCache::make_room(Bytes needed) const {
  if (capacity_ == 0) return {};
  if (needed > capacity_) {
    return fail(ErrorCode::kDoesNotFit,
                format_text("[slice_cache] slice of {}: the cache may hold {}",
                            format_bytes(needed), format_bytes(capacity_)));
  }
  GOGRID_ASSIGN_OR_RETURN(const std::vector<Slice> slices, slices_in(folder_));
  Bytes total = 0;
  for (const Slice& slice : slices) total += slice.size;
  for (const Slice& slice : slices) {
    if (total <= capacity_ - needed) return {};
    if (!evict(slice.path)) continue;
    total -= slice.size;
    log::info("slice_evicted", {{"path", slice.path.native()}, {"bytes", slice.size}});
  }
  if (total <= capacity_ - needed) return {};
  return fail(ErrorCode::kExhausted,
              format_text("[slice_cache] slice of {}: {} of {} are held by loaded stages",
                          format_bytes(needed), format_bytes(total), format_bytes(capacity_)));
}

Result<std::shared_ptr<const SliceCache::Hold>> SliceCache::get(
    const GgufFile& source, std::string_view source_digest, LayerRange range,
    const Progress& progress, const std::optional<WeightType>& type) const {
  if (!is_digest(source_digest)) {
    return fail(ErrorCode::kInvalidArgument,
                "[slice_cache] expected a SHA-256 digest: " + std::string(source_digest));
  }
  const fs::path path = folder_ / name_of(source_digest, range, type);
  if (auto ready = take(path, range, type)) return ready;

  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return file_error("create", folder_, error.value());
  GOGRID_ASSIGN_OR_RETURN(const FileLock alone, FileLock::acquire(folder_ / ".lock"));
  auto again = take(path, range, type);
  if (again || again.error().code == ErrorCode::kIo) return again;
  if (again.error().code != ErrorCode::kNotFound) {
    log::warning("slice_damaged",
                 {{"path", path.native()}, {"why", std::string_view(again.error().message)}});
    ::unlink(path.c_str());
  }
  GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(folder_));
  GOGRID_ASSIGN_OR_RETURN(const Bytes needed, slice_size(source, range, type));
  GOGRID_RETURN_IF_ERROR(make_room(needed));
  GOGRID_RETURN_IF_ERROR(write_slice(source, range, path, progress, type));
  return take(path, range, type);
}

void SliceCache::forget(std::shared_ptr<const Hold> hold) {
  if (hold == nullptr) return;
  const fs::path path = hold->path();
  hold.reset();
  evict(path);
}

}  // namespace gogrid

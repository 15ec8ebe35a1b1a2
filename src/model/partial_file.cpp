#include "model/partial_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/files.h"
#include "base/format.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kMaxState = 64 * kKiB;
// The record beside the file, the library's own, and what else needs the disk meanwhile.
constexpr Bytes kSpareRoom = 16 * kMiB;
constexpr Bytes kStatBlock = 512;  // the unit of st_blocks, whatever the file system's is

fs::path state_path(const fs::path& folder, const std::string& key) {
  return folder / (key + ".state");
}

Status make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return file_error("create", folder, error.value());
  return {};
}

Status remove_if_there(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return file_error("remove", path, errno);
  return {};
}

// Whether `file` is still what `path` names: whoever was done with the lock has removed it.
bool is_named(const FileDescriptor& file, const fs::path& path) {
  struct stat open{};
  struct stat named{};
  return ::fstat(file.get(), &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

std::optional<PartialState> read_state(const fs::path& path) {
  const auto text = read_file(path, kMaxState);
  if (!text) return std::nullopt;
  auto state = parse_partial_state(*text, path.native());
  if (!state) return std::nullopt;
  return *std::move(state);
}

}  // namespace

// --- PartialLock

Result<std::optional<PartialLock>> PartialLock::try_take(const fs::path& folder,
                                                         const std::string& key) {
  GOGRID_RETURN_IF_ERROR(make_folder(folder));
  const fs::path path = folder / (key + ".lock");
  while (true) {
    FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) return file_error("open", path, errno);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::optional<PartialLock>();
      if (errno == EINTR) continue;
      return file_error("lock", path, errno);
    }
    if (is_named(file, path)) return PartialLock(std::move(file), path);
  }
}

PartialLock::~PartialLock() {
  // While it is held: nobody else can hold this one.
  if (file_.valid()) ::unlink(path_.c_str());
}

// --- PartialFile

Result<PartialFile> PartialFile::open(const fs::path& folder, const std::string& key,
                                      const PartialState& wanted) {
  GOGRID_RETURN_IF_ERROR(make_folder(folder));
  GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(folder));
  PartialFile file;
  file.data_path_ = folder / (key + ".data");
  file.state_path_ = state_path(folder, key);
  file.state_ = wanted;
  file.state_.present.clear();
  GOGRID_RETURN_IF_ERROR(file.open_data(O_CREAT));
  GOGRID_ASSIGN_OR_RETURN(const bool kept, file.adopt_kept());
  if (!kept) {
    GOGRID_RETURN_IF_ERROR(file.discard());
    GOGRID_RETURN_IF_ERROR(file.open_data(O_CREAT | O_EXCL));
  }
  GOGRID_RETURN_IF_ERROR(file.take_room());
  return file;
}

Status PartialFile::open_data(int more_flags) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  data_ = FileDescriptor(::open(data_path_.c_str(), kFlags | more_flags, 0600));
  if (!data_.valid()) return file_error("open", data_path_, errno);
  return {};
}

std::optional<PartialState> PartialFile::record(const fs::path& folder, const std::string& key) {
  return read_state(state_path(folder, key));
}

std::optional<PartialState> PartialFile::finished(const fs::path& folder, const std::string& key) {
  auto state = record(folder, key);
  if (!state || state->sha256.empty() || state->present.prefix() != state->size)
    return std::nullopt;
  return state;
}

Status PartialFile::note_finished(const fs::path& folder, const std::string& key,
                                  PartialState state, const std::string& sha256) {
  state.sha256 = sha256;
  state.present.clear();
  state.present.add({0, state.size});
  return write_file(state_path(folder, key), format_partial_state(state));
}

Bytes PartialFile::missing_room(const fs::path& folder, const std::string& key, Bytes size) {
  struct stat info{};
  if (::stat((folder / (key + ".data")).c_str(), &info) != 0) return size;
  return size - std::min(size, static_cast<Bytes>(info.st_blocks) * kStatBlock);
}

Status PartialFile::tidy(const fs::path& folder, const std::string& key, bool all) {
  if (all) GOGRID_RETURN_IF_ERROR(remove_if_there(state_path(folder, key)));
  return remove_if_there(folder / (key + ".data"));
}

// Bytes count only with a record that names them; the record's only with the file as long as it
// says, and with no other name: under that they may be a model by now.
Result<bool> PartialFile::adopt_kept() {
  struct stat info{};
  if (::fstat(data_.get(), &info) != 0) return file_error("look at", data_path_, errno);
  auto kept = read_state(state_path_);
  const bool whole = S_ISREG(info.st_mode) && info.st_nlink == 1 &&
                     static_cast<Bytes>(info.st_size) == state_.size;
  if (!kept || !whole || !continues(*kept, state_)) return false;
  state_.present = std::move(kept->present);
  return true;
}

Status PartialFile::take_room() const {
  struct stat info{};
  struct statvfs disk{};
  if (::fstat(data_.get(), &info) != 0 || ::fstatvfs(data_.get(), &disk) != 0)
    return file_error("look at", data_path_, errno);
  const Bytes taken = static_cast<Bytes>(info.st_blocks) * kStatBlock;
  const Bytes needed = state_.size - std::min(state_.size, taken);
  const Bytes free = static_cast<Bytes>(disk.f_bavail) * disk.f_frsize;
  const auto full = [&] {
    return fail(
        ErrorCode::kExhausted,
        format_text("[pull] expected {} free for {}: {} has {}", format_bytes(needed + kSpareRoom),
                    state_.source, data_path_.parent_path().string(), format_bytes(free)));
  };
  if (needed > 0 && free < needed + kSpareRoom) return full();
  if (::ftruncate(data_.get(), static_cast<off_t>(state_.size)) != 0)
    return file_error("make room in", data_path_, errno);
  // Without it another writer could fill the disk while this file comes. Where it cannot be done
  // ahead, a full disk is an error of a write.
  if (::fallocate(data_.get(), 0, 0, static_cast<off_t>(state_.size)) != 0 && errno == ENOSPC)
    return full();
  return {};
}

Status PartialFile::write(Bytes at, std::span<const std::byte> bytes) {
  return write_at(data_.get(), bytes, at, data_path_);
}

Status PartialFile::read(Bytes at, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(data_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error("read", data_path_, errno);
    if (got == 0) {
      return fail(ErrorCode::kIo, format_text("[pull] {}: expected {} more bytes: the file ends",
                                              data_path_.string(), bytes.size()));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    at += static_cast<Bytes>(got);
  }
  return {};
}

Status PartialFile::save(const ByteSet& present) {
  // The bytes before the record of them: never the other way round.
  if (::fdatasync(data_.get()) != 0) return file_error("sync", data_path_, errno);
  state_.present = present;
  return write_file(state_path_, format_partial_state(state_));
}

Status PartialFile::finish(const std::string& sha256) {
  state_.sha256 = sha256;
  state_.present.clear();
  state_.present.add({0, state_.size});
  return write_file(state_path_, format_partial_state(state_));
}

Status PartialFile::discard() {
  // The record first: bytes without one are nothing.
  GOGRID_RETURN_IF_ERROR(remove_if_there(state_path_));
  return remove_if_there(data_path_);
}

}  // namespace gogrid

#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "base/ids.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

// A temporary name says nothing of its target, so that a long target still fits into NAME_MAX.
constexpr std::string_view kTemporaryPrefix = ".gogrid-";
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::size_t kCopyChunk = std::size_t{1} << 20;
// File systems that share blocks (btrfs, XFS) do so in units of these.
constexpr Bytes kBlock = 4096;

bool is_temporary_name(std::string_view name) {
  return name.starts_with(kTemporaryPrefix) && name.ends_with(kTemporarySuffix);
}

fs::path folder_of(const fs::path& target) {
  return target.has_parent_path() ? target.parent_path() : fs::path(".");
}

bool lock_exclusively(int fd, bool wait) {
  while (::flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

// Errors of copy_file_range that only mean "not between these two files".
bool means_copy_yourself(int error) {
  return error == EXDEV || error == EINVAL || error == ENOSYS || error == EOPNOTSUPP ||
         error == EBADF || error == EPERM || error == ETXTBSY;
}

}  // namespace

// --- MappedFile

Result<MappedFile> MappedFile::open(const fs::path& path) {
  GOGRID_ASSIGN_OR_RETURN(FileDescriptor file, open_regular(path));
  GOGRID_ASSIGN_OR_RETURN(const Bytes size, file.size(path));
  if (size == 0) return MappedFile(std::move(file), nullptr, 0);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) return file_error("map", path, errno);
  return MappedFile(std::move(file), static_cast<const std::byte*>(address), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : file_(std::move(other.file_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

// --- AtomicFile

struct AtomicFile::State {
  fs::path target;
  fs::path temporary;
  FileDescriptor file;  // flock'ed: tells remove_stale_temporaries() that we live
  Bytes size = 0;
  bool committed = false;

  ~State() {
    if (!committed) ::unlink(temporary.c_str());
  }

  Status copy_by_hand(int source, Bytes offset, Bytes length);
  Result<Bytes> share_blocks(int source, Bytes offset, Bytes length);
};

AtomicFile::AtomicFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;
AtomicFile& AtomicFile::operator=(AtomicFile&&) noexcept = default;
AtomicFile::~AtomicFile() = default;

Result<AtomicFile> AtomicFile::create(const fs::path& target) {
  // A second try is needed when somebody's remove_stale_temporaries() took the file away between
  // its creation and our lock on it.
  for (int tries = 0; tries < 100; ++tries) {
    const fs::path temporary = folder_of(target) / (std::string(kTemporaryPrefix) + random_hex(8) +
                                                    std::string(kTemporarySuffix));
    FileDescriptor file(
        ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) {
      if (errno == EEXIST) continue;
      return file_error("create", temporary, errno);
    }
    struct stat info{};
    if (!lock_exclusively(file.get(), false) || ::fstat(file.get(), &info) != 0 ||
        info.st_nlink == 0) {
      ::unlink(temporary.c_str());
      continue;
    }
    auto state = std::make_unique<State>();
    state->target = target;
    state->temporary = temporary;
    state->file = std::move(file);
    return AtomicFile(std::move(state));
  }
  return fail(ErrorCode::kIo,
              "[files] cannot keep a temporary file in " + folder_of(target).string());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  GOGRID_RETURN_IF_ERROR(state_->file.write_all(bytes, state_->temporary));
  state_->size += bytes.size();
  return {};
}

Status AtomicFile::State::copy_by_hand(int source, Bytes offset, Bytes length) {
  std::vector<std::byte> chunk(std::min<Bytes>(length, kCopyChunk));
  while (length > 0) {
    const std::size_t wanted = std::min<Bytes>(length, chunk.size());
    const ssize_t got = ::pread(source, chunk.data(), wanted, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return file_error("read the source of", target, errno);
    }
    if (got == 0) {
      return fail(ErrorCode::kIo, "[files] copying to " + target.string() + ": expected " +
                                      std::to_string(length) + " more bytes: the source ended");
    }
    const auto part = std::span(chunk).first(static_cast<std::size_t>(got));
    GOGRID_RETURN_IF_ERROR(file.write_all(part, temporary));
    size += part.size();
    offset += part.size();
    length -= part.size();
  }
  return {};
}

// Lets the kernel copy what it can; answers how many bytes that were.
Result<Bytes> AtomicFile::State::share_blocks(int source, Bytes offset, Bytes length) {
  Bytes done = 0;
  while (done < length) {
    auto from = static_cast<off_t>(offset + done);
    const ssize_t put = ::copy_file_range(source, &from, file.get(), nullptr, length - done, 0);
    if (put > 0) {
      done += static_cast<Bytes>(put);
      size += static_cast<Bytes>(put);
      continue;
    }
    if (put == 0 || means_copy_yourself(errno)) break;
    if (errno != EINTR) return file_error("copy to", temporary, errno);
  }
  return done;
}

Status AtomicFile::copy_from(int source_fd, Bytes offset, Bytes length) {
  State& out = *state_;
  // Blocks can be shared only where both files begin one; the ragged head goes by hand.
  const Bytes head = std::min(length, (kBlock - offset % kBlock) % kBlock);
  if ((offset + kBlock - out.size % kBlock) % kBlock == 0 && head > 0) {
    GOGRID_RETURN_IF_ERROR(out.copy_by_hand(source_fd, offset, head));
    offset += head;
    length -= head;
  }
  const Bytes body = length >= kBlock ? length - length % kBlock : length;
  GOGRID_ASSIGN_OR_RETURN(const Bytes shared, out.share_blocks(source_fd, offset, body));
  return out.copy_by_hand(source_fd, offset + shared, length - shared);
}

Status AtomicFile::set_size(Bytes size) {
  if (::ftruncate(state_->file.get(), static_cast<off_t>(size)) != 0)
    return file_error("make room in", state_->temporary, errno);
  state_->size = size;
  return {};
}

Bytes AtomicFile::size() const { return state_->size; }

int AtomicFile::descriptor() const { return state_->file.get(); }

const fs::path& AtomicFile::path() const { return state_->temporary; }

Status AtomicFile::commit_as(const fs::path& target) {
  state_->target = target;
  return commit();
}

Status AtomicFile::commit_new() {
  State& state = *state_;
  if (::fsync(state.file.get()) != 0) return file_error("sync", state.temporary, errno);
  int failed = ::renameat2(AT_FDCWD, state.temporary.c_str(), AT_FDCWD, state.target.c_str(),
                           RENAME_NOREPLACE) == 0
                   ? 0
                   : errno;
  state.committed = failed == 0;
  // Not in this file system: a second name, and the destructor takes the first.
  if (failed == EINVAL || failed == ENOSYS)
    failed = ::link(state.temporary.c_str(), state.target.c_str()) == 0 ? 0 : errno;
  if (failed == EEXIST) {
    return fail(ErrorCode::kInvalidArgument,
                "[files] expected a file that is not there yet: " + state.target.string() +
                    " appeared meanwhile, and was left as it is");
  }
  if (failed != 0) return file_error("rename to", state.target, failed);
  return sync_folder(folder_of(state.target));
}

Status AtomicFile::commit() {
  State& state = *state_;
  if (::fsync(state.file.get()) != 0) return file_error("sync", state.temporary, errno);
  if (::rename(state.temporary.c_str(), state.target.c_str()) != 0) {
    return file_error("rename to", state.target, errno);
  }
  state.committed = true;
  return sync_folder(folder_of(state.target));
}

// --- whole files

Status write_file(const fs::path& target, std::string_view content) {
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(target));
  GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(content))));
  return file.commit();
}

Result<std::string> read_head(const fs::path& path, Bytes limit) {
  GOGRID_ASSIGN_OR_RETURN(const FileDescriptor file, open_regular(path));
  std::string content(limit, '\0');
  std::size_t size = 0;
  while (size < limit) {
    const auto rest = std::as_writable_bytes(std::span(content)).subspan(size);
    GOGRID_ASSIGN_OR_RETURN(const std::size_t got, file.read(rest, path));
    if (got == 0) break;
    size += got;
  }
  content.resize(size);
  return content;
}

namespace {

Result<std::string> read_to_end(const FileDescriptor& file, const fs::path& path, Bytes limit) {
  std::string content;
  std::vector<std::byte> chunk(64 * kKiB);
  while (true) {
    GOGRID_ASSIGN_OR_RETURN(const std::size_t got, file.read(chunk, path));
    if (got == 0) return content;
    if (got > limit - content.size()) {
      return fail(ErrorCode::kTooLarge, "[files] expected at most " + format_bytes(limit) + ": " +
                                            path.string() + " is larger");
    }
    content.append(reinterpret_cast<const char*>(chunk.data()), got);
  }
}

}  // namespace

Result<std::string> read_file(const fs::path& path, Bytes limit) {
  GOGRID_ASSIGN_OR_RETURN(const FileDescriptor file, open_regular(path));
  return read_to_end(file, path, limit);
}

Result<std::string> read_named(const fs::path& path, Bytes limit) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.valid()) return file_error("open", path, errno);
  return read_to_end(file, path, limit);
}

Status sync_folder(const fs::path& folder) {
  const FileDescriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle.valid()) return file_error("open", folder, errno);
  // Some file systems have no folder fsync; their renames are as durable as they get.
  if (::fsync(handle.get()) != 0 && errno != EINVAL) return file_error("sync", folder, errno);
  return {};
}

Status remove_stale_temporaries(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (!is_temporary_name(entries->path().filename().native())) continue;
    const fs::path& path = entries->path();
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    // The writer of a live one holds its lock until it has renamed it.
    if (!file.valid() || !lock_exclusively(file.get(), false)) continue;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return file_error("remove", path, errno);
  }
  if (error) return file_error("list", folder, error.value());
  return {};
}

// --- the data folder

namespace {

// Empty when the variable is unset or empty.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

Result<fs::path> choose_data_folder(const fs::path& flag) {
  if (!flag.empty()) return flag;
  if (const std::string own = environment("GOGRID_DATA"); !own.empty()) return fs::path(own);
  // The XDG specification: a relative path here is invalid and to be ignored.
  const fs::path xdg = environment("XDG_DATA_HOME");
  if (xdg.is_absolute()) return xdg / "gogrid";
  const fs::path home = environment("HOME");
  if (home.is_absolute()) return home / ".local" / "share" / "gogrid";
  return fail(ErrorCode::kInvalidArgument,
              "[files] expected a data folder: none of --data-dir, GOGRID_DATA, XDG_DATA_HOME and "
              "HOME is set",
              "data-dir");
}

}  // namespace

Result<fs::path> data_folder(const fs::path& flag) {
  GOGRID_ASSIGN_OR_RETURN(const fs::path chosen, choose_data_folder(flag));
  std::error_code error;
  fs::path folder = fs::absolute(chosen, error).lexically_normal();
  if (error) return file_error("resolve", chosen, error.value());
  if (!folder.has_filename()) folder = folder.parent_path();
  fs::create_directories(folder.parent_path(), error);
  if (error) return file_error("create", folder.parent_path(), error.value());
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return file_error("create", folder, errno);
  }
  if (!fs::is_directory(folder, error)) {
    return fail(ErrorCode::kIo, "[files] expected a folder: " + folder.string(), "data-dir");
  }
  return folder;
}

// --- FileLock

Result<FileLock> FileLock::acquire(const fs::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600));
  if (!file.valid()) return file_error("open", path, errno);
  if (!lock_exclusively(file.get(), true)) return file_error("lock", path, errno);
  return FileLock(std::move(file));
}

}  // namespace gogrid

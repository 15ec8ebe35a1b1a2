// Files the safe way: written aside and renamed, mapped read-only, removed when the owner goes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// A whole file mapped read-only. Move-only; the mapping ends with it. Reading it is thread-safe. A
// file that is truncated by another process while mapped raises SIGBUS on access, so only files of
// our own data folder, or files that were opened and checked this run, are mapped.
class MappedFile {
 public:
  // kNotFound, kIo (not a regular file, no permission), with the path and the reason.
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // The file that is mapped, whatever its name has come to mean since: to copy from.
  int descriptor() const { return file_.get(); }

 private:
  MappedFile(FileDescriptor file, const std::byte* data, std::size_t size)
      : file_(std::move(file)), data_(data), size_(size) {}
  FileDescriptor file_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// A file that appears under its name whole or not at all: written to a temporary name in the same
// folder, flushed to the disk, renamed by commit(). Without commit() the temporary file is removed
// by the destructor; after a crash remove_stale_temporaries() finds it. Not thread-safe.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::filesystem::path& target);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();

  Status write(std::span<const std::byte> bytes);
  // Appends `length` bytes of `source` from `offset`, sharing blocks where the file system can.
  Status copy_from(int source_fd, Bytes offset, Bytes length);
  // Makes it that long, with zeros where nothing is written yet: for bytes that come in any order,
  // by write_at(descriptor(), …). No write() after it.
  Status set_size(Bytes size);
  Bytes size() const;
  // To read back what was written (pread): for a digest of what is really there.
  int descriptor() const;
  // Where it is until commit(): for writers that take a name. size() does not count what they
  // write.
  const std::filesystem::path& path() const;
  // fsync, rename over `target`, fsync of the folder.
  Status commit();
  // The same, but kInvalidArgument when there is a file of that name by now, which stays; then, as
  // after any error, the temporary file goes with this one.
  Status commit_new();
  // The same under another name in the same folder: for a name that depends on the content.
  Status commit_as(const std::filesystem::path& target);

 private:
  struct State;
  explicit AtomicFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// write + commit in one.
Status write_file(const std::filesystem::path& target, std::string_view content);
// The first `limit` bytes of a regular file, or all where it has fewer; kNotFound, kIo.
Result<std::string> read_head(const std::filesystem::path& path, Bytes limit);
// The whole of a regular file of at most `limit` bytes; kTooLarge above, kIo for a pipe or a
// device, for which nobody waits.
Result<std::string> read_file(const std::filesystem::path& path, Bytes limit);
// The same for what a person names on the command line, which may be a pipe ("<(...)"): waits for
// its end.
Result<std::string> read_named(const std::filesystem::path& path, Bytes limit);
// Removes what a crash in the middle of an AtomicFile left in `folder` (not of processes that still
// live).
Status remove_stale_temporaries(const std::filesystem::path& folder);

// Makes created and removed names in `folder` last: what a rename or unlink needs to survive a
// crash.
Status sync_folder(const std::filesystem::path& folder);

// Where data live: `flag` if given, else $GOGRID_DATA, else $XDG_DATA_HOME/gogrid, else
// ~/.local/share/gogrid. Created with mode 0700 if absent.
Result<std::filesystem::path> data_folder(const std::filesystem::path& flag);

// Exclusive advisory lock on a file, held while it lives (flock; the kernel drops it when the
// process dies).
class FileLock {
 public:
  // Waits until the lock is free.
  static Result<FileLock> acquire(const std::filesystem::path& path);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace gogrid

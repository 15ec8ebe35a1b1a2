// A file descriptor with an owner, and the system's refusals as errors that name the path.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// Move-only; closes in its destructor. Not thread-safe, but pread-like uses of get() are.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // `path` is for the error's text.
  Result<Bytes> size(const std::filesystem::path& path) const;
  // Reads up to buffer.size() bytes at the file's position; 0 at its end. Signals are retried.
  Result<std::size_t> read(std::span<std::byte> buffer, const std::filesystem::path& path) const;
  Status write_all(std::span<const std::byte> bytes, const std::filesystem::path& path) const;

 private:
  int fd_ = -1;
};

// Writes all of `bytes` from `offset` on, wherever the file's position is. Thread-safe for other
// bytes of one file. `path` is for the error's text.
Status write_at(int fd, std::span<const std::byte> bytes, Bytes offset,
                const std::filesystem::path& path);

// "[files] cannot VERB PATH: reason" from errno: kNotFound when it is absent,
// kExhausted when the disk (or the quota on it) is full, kIo otherwise.
std::unexpected<Error> file_error(std::string_view verb, const std::filesystem::path& path,
                                  int error);

// Opens for reading. kIo when it is no regular file: a pipe would block, a device has no size.
Result<FileDescriptor> open_regular(const std::filesystem::path& path);

}  // namespace gogrid

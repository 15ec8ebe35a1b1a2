#include "base/file_descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace gogrid {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Bytes> FileDescriptor::size(const std::filesystem::path& path) const {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return file_error("look at", path, errno);
  return static_cast<Bytes>(info.st_size);
}

Result<std::size_t> FileDescriptor::read(std::span<std::byte> buffer,
                                         const std::filesystem::path& path) const {
  while (true) {
    const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return file_error("read", path, errno);
  }
}

Status FileDescriptor::write_all(std::span<const std::byte> bytes,
                                 const std::filesystem::path& path) const {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_, bytes.data(), bytes.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      return file_error("write", path, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Status write_at(int fd, std::span<const std::byte> bytes, Bytes offset,
                const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return file_error("write", path, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<Bytes>(put);
  }
  return {};
}

std::unexpected<Error> file_error(std::string_view verb, const std::filesystem::path& path,
                                  int error) {
  const bool absent = error == ENOENT || error == ENOTDIR;
  const bool full = error == ENOSPC || error == EDQUOT;
  return fail(absent ? ErrorCode::kNotFound
              : full ? ErrorCode::kExhausted
                     : ErrorCode::kIo,
              "[files] cannot " + std::string(verb) + " " + path.string() + ": " +
                  std::generic_category().message(error));
}

Result<FileDescriptor> open_regular(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe without a writer would wait for one; it means nothing for a file.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) return file_error("open", path, errno);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return file_error("look at", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorCode::kIo, "[files] expected a regular file: " + path.string());
  }
  return file;
}

}  // namespace gogrid

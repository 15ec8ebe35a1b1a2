// A file on its way here: its bytes, and beside them the record of which of them are on the disk.
// It outlives the process, however that ends (docs/pull-format.md).
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "model/partial_state.h"

namespace gogrid {

// The right to work on one partial file; held while it lives, dropped by the kernel when the
// process dies. Move-only.
class PartialLock {
 public:
  // Empty when another process, or another pull of this one, has it. `folder` is created if absent.
  static Result<std::optional<PartialLock>> try_take(const std::filesystem::path& folder,
                                                     const std::string& key);
  PartialLock(PartialLock&&) noexcept = default;
  PartialLock& operator=(PartialLock&&) noexcept = default;
  ~PartialLock();

 private:
  PartialLock(FileDescriptor file, std::filesystem::path path)
      : file_(std::move(file)), path_(std::move(path)) {}
  FileDescriptor file_;
  std::filesystem::path path_;
};

// Not thread-safe; for whoever holds the lock of its key.
class PartialFile {
 public:
  // What is kept of `wanted` goes on; kept bytes of anything else are thrown away, by their name: a
  // file that somebody else has open, or has another name for, is never written into. kExhausted
  // when the disk has no room for what is missing, with both numbers; where the file system can,
  // the room is taken at once.
  static Result<PartialFile> open(const std::filesystem::path& folder, const std::string& key,
                                  const PartialState& wanted);
  // The record of a file that was fetched whole, whether or not the library has it.
  static std::optional<PartialState> finished(const std::filesystem::path& folder,
                                              const std::string& key);
  // The record, whatever it says.
  static std::optional<PartialState> record(const std::filesystem::path& folder,
                                            const std::string& key);
  // Writes the record of a file that was fetched whole and is not here by itself: a model in
  // several files, with the digest of what was made of them.
  static Status note_finished(const std::filesystem::path& folder, const std::string& key,
                              PartialState state, const std::string& sha256);
  // Bytes of the disk that a file of this size still needs.
  static Bytes missing_room(const std::filesystem::path& folder, const std::string& key,
                            Bytes size);
  // Removes what is of no use once the library has the content: the bytes, and with `all` the
  // record.
  static Status tidy(const std::filesystem::path& folder, const std::string& key, bool all);

  const ByteSet& present() const { return state_.present; }
  const std::filesystem::path& path() const { return data_path_; }
  Status write(Bytes at, std::span<const std::byte> bytes);
  // Up to bytes.size() bytes from `at`; kIo when the file is shorter.
  Status read(Bytes at, std::span<std::byte> bytes) const;
  // From now on these bytes are there after any crash.
  Status save(const ByteSet& present);
  // All is there, and this is its digest: from now on the record says so. For sources that name
  // none it outlives the bytes, which go to the library.
  Status finish(const std::string& sha256);
  // Everything goes.
  Status discard();

 private:
  PartialFile() = default;
  Status take_room() const;
  Status open_data(int more_flags);
  Result<bool> adopt_kept();

  std::filesystem::path data_path_;
  std::filesystem::path state_path_;
  FileDescriptor data_;
  PartialState state_;
};

}  // namespace gogrid

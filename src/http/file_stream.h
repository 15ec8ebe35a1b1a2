// A part of a file on its way to a client. For .cpp files of http/ only.
#pragma once

#include <drogon/HttpResponse.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/file_descriptor.h"
#include "http/client_link.h"
#include "http/worker_pool.h"
#include "model/byte_ranges.h"

namespace gogrid {

// Who reads the files: a thread of its own, since a slow disk must not hold up the connections, and
// how many are read at once, each of which takes up to kMostUnsent and a piece of memory.
class FileReaders {
 public:
  // At most `most` streams. `may_read`: asked before each piece; while it says no, they wait.
  FileReaders(std::uint32_t most, std::function<bool()> may_read)
      : most_(most), may_read_(std::move(may_read)), pool_(1, most) {}

  // After it nothing is read, and nobody asked.
  void stop() { pool_.stop(); }

 private:
  friend class FileStream;
  const std::uint32_t most_;
  const std::function<bool()> may_read_;
  std::atomic<std::uint32_t> streams_{0};
  WorkerPool pool_;
};

// Reads as fast as the client takes it. Where the file cannot be read to the end, or the readers
// are stopped, the connection is closed before the answer is whole, which every client notices.
// Thread-safe.
class FileStream : public std::enable_shared_from_this<FileStream> {
 public:
  static constexpr Bytes kPiece = 256 * kKiB;
  static constexpr Bytes kMostUnsent = kMiB;

  // kExhausted when as many are under way as may be; kNotFound, kIo.
  static Result<std::shared_ptr<FileStream>> open(std::shared_ptr<FileReaders> readers,
                                                  const std::filesystem::path& path,
                                                  ByteRange range, ClientLink link,
                                                  bool close_at_end);
  FileStream(const FileStream&) = delete;
  FileStream& operator=(const FileStream&) = delete;
  ~FileStream();

  // Called by the framework once the head is on its way.
  void start(drogon::ResponseStreamPtr stream);

 private:
  FileStream(std::shared_ptr<FileReaders> readers, FileDescriptor file, ByteRange left,
             ClientLink link, bool close_at_end);
  void read_next();                     // on the readers' thread
  void send(const std::string& piece);  // on the connection's
  void go_on();                         // on the connection's
  void break_off();
  void later(double seconds, void (FileStream::*then)());

  const std::shared_ptr<FileReaders> readers_;
  const FileDescriptor file_;
  const ClientLink link_;
  const bool close_at_end_;
  ByteRange left_;  // handed from thread to thread with each task
  // The connection's thread only.
  drogon::ResponseStreamPtr stream_;
  std::size_t handed_ = 0;       // to the socket, since sent_before_
  std::size_t sent_before_ = 0;  // by the connection, before this
};

}  // namespace gogrid

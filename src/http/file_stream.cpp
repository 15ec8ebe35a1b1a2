#include "http/file_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/format.h"
#include "obs/log.h"

namespace gogrid {
namespace {

// How often a client that does not read, a pause and a full queue are looked at.
constexpr double kSlowClient = 0.002;
constexpr double kPaused = 0.2;
constexpr double kBusyReaders = 0.01;

}  // namespace

Result<std::shared_ptr<FileStream>> FileStream::open(std::shared_ptr<FileReaders> readers,
                                                     const std::filesystem::path& path,
                                                     ByteRange range, ClientLink link,
                                                     bool close_at_end) {
  GOGRID_ASSIGN_OR_RETURN(FileDescriptor file, open_regular(path));
  GOGRID_ASSIGN_OR_RETURN(const Bytes size, file.size(path));
  if (size < range.last) {
    return fail(ErrorCode::kIo,
                format_text("{}: expected {} bytes: {}", path.string(), range.last, size));
  }
  if (readers->streams_.fetch_add(1) >= readers->most_) {
    --readers->streams_;
    return fail(ErrorCode::kExhausted,
                format_text("{} files are being sent already", readers->most_));
  }
  return std::shared_ptr<FileStream>(
      new FileStream(std::move(readers), std::move(file), range, std::move(link), close_at_end));
}

FileStream::FileStream(std::shared_ptr<FileReaders> readers, FileDescriptor file, ByteRange left,
                       ClientLink link, bool close_at_end)
    : readers_(std::move(readers)),
      file_(std::move(file)),
      link_(std::move(link)),
      close_at_end_(close_at_end),
      left_(left) {}

FileStream::~FileStream() { --readers_->streams_; }

void FileStream::start(drogon::ResponseStreamPtr stream) {
  link_.post([self = shared_from_this(),
              raw = std::make_shared<drogon::ResponseStreamPtr>(std::move(stream))] {
    self->stream_ = std::move(*raw);
    self->sent_before_ = self->link_.bytes_sent();
    self->go_on();
  });
}

void FileStream::go_on() {
  if (!link_.connected()) return;
  const std::size_t sent = link_.bytes_sent() - sent_before_;
  if (handed_ > sent + kMostUnsent) return later(kSlowClient, &FileStream::go_on);
  if (readers_->pool_.stopped()) return break_off();
  if (readers_->pool_.try_post([self = shared_from_this()] { self->read_next(); })) return;
  later(kBusyReaders, &FileStream::go_on);
}

void FileStream::read_next() {
  if (!link_.connected()) return;
  if (!readers_->may_read_()) {
    return link_.post([self = shared_from_this()] { self->later(kPaused, &FileStream::go_on); });
  }
  std::string piece(std::min(left_.size(), kPiece), '\0');
  ssize_t got = 0;
  do {
    got = ::pread(file_.get(), piece.data(), piece.size(), static_cast<off_t>(left_.first));
  } while (got < 0 && errno == EINTR);
  if (got <= 0) {
    log::warning(
        "file_not_sent",
        {{"why", std::string_view(got == 0 ? "it is shorter by now" : "it cannot be read")}});
    return link_.post([self = shared_from_this()] { self->break_off(); });
  }
  piece.resize(static_cast<std::size_t>(got));
  left_.first += piece.size();
  link_.post([self = shared_from_this(), raw = std::make_shared<std::string>(std::move(piece))] {
    self->send(*raw);
  });
}

void FileStream::send(const std::string& piece) {
  handed_ += piece.size();
  if (!stream_->send(piece)) return;
  if (left_.size() > 0) return go_on();
  stream_->close();
  if (close_at_end_) link_.close_when_sent();
}

// The connection first: closing the stream would say that the answer is whole.
void FileStream::break_off() {
  link_.close_when_sent();
  stream_.reset();
}

void FileStream::later(double seconds, void (FileStream::*then)()) {
  link_.post_later(seconds, [self = shared_from_this(), then] { (self.get()->*then)(); });
}

}  // namespace gogrid

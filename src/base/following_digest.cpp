#include "base/following_digest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/disk_sync.h"

namespace gogrid {
namespace {

constexpr auto kLook = std::chrono::milliseconds(2);
constexpr Bytes kChunk = kMiB;
constexpr Bytes kSyncEvery = 32 * kMiB;

std::unexpected<Error> failed(const char* what, int error) {
  return fail(ErrorCode::kIo, std::string("[files] cannot ") + what + " a file that is written: " +
                                  std::generic_category().message(error));
}

}  // namespace

Result<std::unique_ptr<FollowingDigest>> FollowingDigest::begin(int descriptor) {
  FileDescriptor file(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!file.valid()) return failed("open", errno);
  return std::unique_ptr<FollowingDigest>(new FollowingDigest(std::move(file)));
}

FollowingDigest::FollowingDigest(FileDescriptor file)
    : file_(std::move(file)), thread_([this](const std::stop_token& stop) { follow(stop); }) {}

FollowingDigest::~FollowingDigest() = default;

Result<std::string> FollowingDigest::finish() {
  {
    const MutexLock lock(mu_);
    whole_ = true;
  }
  changed_.notify_all();
  thread_.join();
  GOGRID_RETURN_IF_ERROR(std::move(failure_));
  return hash_.finish();
}

// False when it is to end without the rest. True once all is written, or after a while.
bool FollowingDigest::wait(const std::stop_token& stop) {
  MutexLock lock(mu_);
  if (!whole_) changed_.wait_until(mu_, std::chrono::steady_clock::now() + kLook);
  return !stop.stop_requested();
}

void FollowingDigest::follow(const std::stop_token& stop) {
  Bytes done = 0;
  Bytes synced = 0;
  for (bool last = false; wait(stop);) {
    {
      const MutexLock lock(mu_);
      last = whole_;  // before the size is looked at
    }
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) {
      failure_ = failed("look at", errno);
      return;
    }
    auto taken = take(done, static_cast<Bytes>(status.st_size));
    if (!taken) {
      failure_ = std::unexpected(std::move(taken).error());
      return;
    }
    done = *taken;
    if (done - synced >= kSyncEvery) {
      begin_to_sync(file_.get(), synced);
      synced = done;
    }
    if (last) return;
  }
}

Result<Bytes> FollowingDigest::take(Bytes from, Bytes to) {
  std::vector<std::byte> chunk(std::min(kChunk, to - from));
  while (from < to) {
    const ssize_t got = ::pread(file_.get(), chunk.data(), std::min<Bytes>(chunk.size(), to - from),
                                static_cast<off_t>(from));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failed("read back", got < 0 ? errno : EIO);
    hash_.update(std::span(chunk).first(static_cast<std::size_t>(got)));
    from += static_cast<Bytes>(got);
  }
  return from;
}

}  // namespace gogrid

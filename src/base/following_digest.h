// SHA-256 of a file while it is written: what hashing it afterwards would cost is done beside the
// writing.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/file_descriptor.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/sha256.h"
#include "base/units.h"

namespace gogrid {

// Reads back what is in a file that only grows, from its beginning, on a thread of its own; and has
// the disk begin with it, so that the sync at the end has little left to wait for. What was written
// once must not be written again. The destructor gives up. finish() by one thread.
class FollowingDigest {
 public:
  // `descriptor`: of the file, readable; it is duplicated. kIo when that cannot be done.
  static Result<std::unique_ptr<FollowingDigest>> begin(int descriptor);
  FollowingDigest(const FollowingDigest&) = delete;
  FollowingDigest& operator=(const FollowingDigest&) = delete;
  ~FollowingDigest();

  // Once all is written: the digest of all there is, as sha256_file() would tell it. kIo.
  Result<std::string> finish();

 private:
  explicit FollowingDigest(FileDescriptor file);
  void follow(const std::stop_token& stop);
  Result<Bytes> take(Bytes from, Bytes to);
  bool wait(const std::stop_token& stop) EXCLUDES(mu_);

  const FileDescriptor file_;
  Sha256 hash_;  // the thread's, until it has ended
  Status failure_;
  Mutex mu_;
  CondVar changed_;
  bool whole_ GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace gogrid

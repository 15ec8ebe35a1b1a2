#include "base/following_digest.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "base/files.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using testing::TemporaryFolder;

std::vector<std::byte> bytes(std::size_t size, unsigned seed) {
  std::vector<std::byte> made(size);
  for (std::size_t i = 0; i < size; ++i)
    made[i] = static_cast<std::byte>((i * 131 + seed * 7919) >> 3);
  return made;
}

TEST(FollowingDigest, IsThatOfTheWholeFileHoweverItWasWritten) {
  const TemporaryFolder folder;
  auto file = AtomicFile::create(folder / "file");
  ASSERT_TRUE(file);
  auto digest = FollowingDigest::begin(file->descriptor());
  ASSERT_TRUE(digest) << digest.error().message;
  for (unsigned i = 0; i < 40; ++i) {
    ASSERT_TRUE(file->write(bytes(1 + i * 40'000, i)));
    if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const auto found = (*digest)->finish();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, sha256_file(file->path()));
}

TEST(FollowingDigest, OfNothingIsTheDigestOfNothing) {
  const TemporaryFolder folder;
  auto file = AtomicFile::create(folder / "file");
  EXPECT_EQ((*FollowingDigest::begin(file->descriptor()))->finish(), Sha256().finish());
}

TEST(FollowingDigest, GivesUpWithItsOwner) {
  const TemporaryFolder folder;
  auto file = AtomicFile::create(folder / "file");
  ASSERT_TRUE(file->write(bytes(1000, 1)));
  const auto begin = std::chrono::steady_clock::now();
  {
    const auto digest = FollowingDigest::begin(file->descriptor());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(FollowingDigest, AFileThatIsNoneIsAnError) {
  EXPECT_FALSE(FollowingDigest::begin(-1));
  const TemporaryFolder folder;
  const FileDescriptor unreadable(::open((folder / "w").c_str(), O_WRONLY | O_CREAT, 0600));
  ASSERT_EQ(::write(unreadable.get(), "x", 1), 1);
  const auto digest = (*FollowingDigest::begin(unreadable.get()))->finish();
  ASSERT_FALSE(digest);
  EXPECT_EQ(digest.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace gogrid

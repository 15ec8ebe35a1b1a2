#include "model/partial_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

const PartialState kWanted{"source", 8, "", "\"v1\"", {}};

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string first_eight(const PartialFile& file) {
  std::string text(8, 'x');
  EXPECT_TRUE(file.read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

class PartialFileTest : public ::testing::Test {
 protected:
  PartialFile open(const PartialState& wanted = kWanted) {
    auto file = PartialFile::open(folder_.path(), "key", wanted);
    if (!file) throw std::runtime_error(file.error().message);
    return *std::move(file);
  }
  const TemporaryFolder folder_;
};

TEST_F(PartialFileTest, KeepsWhatWasSavedAndNothingElse) {
  {
    PartialFile file = open();
    ASSERT_TRUE(file.write(0, bytes("abcd")));
    ByteSet present;
    present.add({0, 4});
    ASSERT_TRUE(file.save(present));
    ASSERT_TRUE(file.write(4, bytes("efgh")));  // and then it crashes
  }
  const PartialFile file = open();
  EXPECT_EQ(file.present().prefix(), 4U);
  EXPECT_EQ(first_eight(file).substr(0, 4), "abcd");
}

TEST_F(PartialFileTest, OfAnotherVersionIsThrownAway) {
  {
    PartialFile file = open();
    ASSERT_TRUE(file.write(0, bytes("abcdefgh")));
    ByteSet present;
    present.add({0, 8});
    ASSERT_TRUE(file.save(present));
  }
  PartialState other = kWanted;
  other.validator = "\"v2\"";
  const PartialFile file = open(other);
  EXPECT_EQ(file.present().total(), 0U);
  EXPECT_EQ(first_eight(file), std::string(8, '\0'));
}

TEST_F(PartialFileTest, NeverWritesIntoAFileThatHasAnotherNameOrReader) {
  for (const bool same_version : {true, false}) {
    {
      PartialFile file = open();
      ASSERT_TRUE(file.write(0, bytes("abcdefgh")));
      ByteSet present;
      present.add({0, 8});
      ASSERT_TRUE(file.save(present));
    }
    const auto other = folder_ / "blob";
    std::filesystem::create_hard_link(folder_ / "key.data", other);
    PartialState wanted = kWanted;
    if (!same_version) wanted.validator = "\"v2\"";
    PartialFile file = open(wanted);
    EXPECT_EQ(file.present().total(), 0U);
    ASSERT_TRUE(file.write(0, bytes("xxxxxxxx")));
    EXPECT_EQ(read_file(other, kKiB).value(), "abcdefgh");
    std::filesystem::remove(other);
  }
  // The same where the other name is gone, but somebody still reads it.
  PartialFile reader = open();
  ASSERT_TRUE(reader.write(0, bytes("abcdefgh")));
  PartialState wanted = kWanted;
  wanted.validator = "\"v3\"";
  open(wanted);
  EXPECT_EQ(first_eight(reader), "abcdefgh");
}

TEST_F(PartialFileTest, WithoutItsBytesTheRecordIsNothing) {
  {
    PartialFile file = open();
    ByteSet present;
    present.add({0, 8});
    ASSERT_TRUE(file.save(present));
  }
  std::filesystem::resize_file(folder_ / "key.data", 4);
  EXPECT_EQ(open().present().total(), 0U);
}

TEST_F(PartialFileTest, ARecordThatNobodyWroteIsNothing) {
  {
    open();
  }
  ASSERT_TRUE(write_file(folder_ / "key.state", "present 0 8\n"));
  EXPECT_EQ(open().present().total(), 0U);
}

TEST_F(PartialFileTest, IsRefusedWithNumbersWhenTheDiskIsTooSmall) {
  PartialState huge = kWanted;
  huge.size = Bytes{1} << 45;
  const auto file = PartialFile::open(folder_.path(), "key", huge);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(file.error().message, HasSubstr("TiB free for source"));
}

TEST_F(PartialFileTest, LeavesARecordOfWhatWasFinished) {
  EXPECT_FALSE(PartialFile::finished(folder_.path(), "key"));
  PartialFile file = open();
  EXPECT_FALSE(PartialFile::finished(folder_.path(), "key"));
  ASSERT_TRUE(file.finish("digest"));
  const auto record = PartialFile::finished(folder_.path(), "key");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->sha256, "digest");
  EXPECT_EQ(record->validator, "\"v1\"");
  EXPECT_EQ(open().present().total(), 8U) << "until the library has the bytes, they are kept";
  ASSERT_TRUE(PartialFile::tidy(folder_.path(), "key", false));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "key.data"));
  EXPECT_TRUE(PartialFile::finished(folder_.path(), "key"));
  EXPECT_EQ(open().present().total(), 0U) << "the bytes are gone: it begins again";
}

TEST_F(PartialFileTest, LeavesNothingWhenDiscarded) {
  PartialFile file = open();
  ASSERT_TRUE(file.save({}));
  ASSERT_TRUE(file.discard());
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(PartialFileTest, ItsLockIsOnesOwnAndLeavesNoFile) {
  {
    auto mine = PartialLock::try_take(folder_.path(), "key");
    ASSERT_TRUE(mine && *mine);
    const auto second = PartialLock::try_take(folder_.path(), "key");
    ASSERT_TRUE(second);
    EXPECT_FALSE(*second);
    EXPECT_TRUE(*PartialLock::try_take(folder_.path(), "other"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_TRUE(*PartialLock::try_take(folder_.path(), "key"));
}

}  // namespace
}  // namespace gogrid

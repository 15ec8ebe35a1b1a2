#include "base/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

std::string content_of(const fs::path& path) {
  return read_file(path, kGiB).value_or(std::string("<unreadable>"));
}

std::size_t entries_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 131 + (i >> 9));
  return text;
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "f", "hello"));
  auto mapped = MappedFile::open(folder / "f");
  ASSERT_TRUE(mapped) << mapped.error().message;
  const MappedFile moved = std::move(*mapped);
  ASSERT_EQ(moved.bytes().size(), 5U);
  EXPECT_EQ(std::memcmp(moved.bytes().data(), "hello", 5), 0);
}

TEST(MappedFile, OfNothingIsEmpty) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "f", ""));
  const auto mapped = MappedFile::open(folder / "f");
  ASSERT_TRUE(mapped);
  EXPECT_TRUE(mapped->bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoFileWithoutWaiting) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const auto pipe = MappedFile::open(folder / "pipe");
  ASSERT_FALSE(pipe);
  EXPECT_EQ(pipe.error().code, ErrorCode::kIo);
  EXPECT_THAT(pipe.error().message, HasSubstr("regular file"));
  EXPECT_EQ(MappedFile::open(folder.path()).error().code, ErrorCode::kIo);
  EXPECT_EQ(MappedFile::open(folder / "absent").error().code, ErrorCode::kNotFound);
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  auto file = AtomicFile::create(folder / "f");
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(bytes_of("abc")));
  EXPECT_FALSE(fs::exists(folder / "f"));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(content_of(folder / "f"), "abc");
  EXPECT_EQ(entries_in(folder.path()), 1U);
}

TEST(AtomicFile, LeavesNothingWhenGivenUp) {
  const TemporaryFolder folder;
  {
    auto file = AtomicFile::create(folder / "f");
    ASSERT_TRUE(file->write(bytes_of("abc")));
    AtomicFile moved = std::move(*file);
    EXPECT_EQ(entries_in(folder.path()), 1U);
  }
  EXPECT_EQ(entries_in(folder.path()), 0U);
}

TEST(AtomicFile, ReplacesTheWholeOfAnOlderOne) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "f", "a long first content"));
  ASSERT_TRUE(write_file(folder / "f", "b"));
  EXPECT_EQ(content_of(folder / "f"), "b");
}

TEST(AtomicFile, IsReadableByItsOwnerOnly) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "f", "secret"));
  EXPECT_EQ(fs::status(folder / "f").permissions() & fs::perms::mask, fs::perms(0600));
}

TEST(AtomicFile, TakesATargetAsLongAsTheFileSystemAllows) {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  ASSERT_TRUE(write_file(folder / name, "x"));
  EXPECT_EQ(content_of(folder / name), "x");
}

TEST(AtomicFile, NamesTheFolderThatIsNotThere) {
  const auto file = AtomicFile::create("/nowhere/at/all");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(file.error().message, HasSubstr("/nowhere/at/"));
}

TEST(AtomicFile, CopiesAnyPartOfAnotherFile) {
  const TemporaryFolder folder;
  const std::string source = pattern(3 * kMiB + 777);
  ASSERT_TRUE(write_file(folder / "source", source));
  const FileDescriptor from = *open_regular(folder / "source");
  // Aligned alike, aligned unlike, shorter than a block, nothing at all, the very end.
  const std::vector<std::pair<Bytes, Bytes>> parts{
      {0, 4096}, {4096, 2 * kMiB + 5}, {17, 100'000}, {5, 3}, {9, 0}, {source.size() - 10, 10}};
  auto file = AtomicFile::create(folder / "copy");
  std::string expected = "head";
  ASSERT_TRUE(file->write(bytes_of(expected)));
  for (const auto& [offset, length] : parts) {
    ASSERT_TRUE(file->copy_from(from.get(), offset, length));
    expected += source.substr(offset, length);
    EXPECT_EQ(file->size(), expected.size());
  }
  ASSERT_TRUE(file->commit());
  EXPECT_TRUE(content_of(folder / "copy") == expected);
}

TEST(AtomicFile, CopyFollowsTheSourceAtTheSameOffsetInsideABlock) {
  const TemporaryFolder folder;
  const std::string source = pattern(100'000);
  ASSERT_TRUE(write_file(folder / "source", source));
  const FileDescriptor from = *open_regular(folder / "source");
  auto file = AtomicFile::create(folder / "copy");
  ASSERT_TRUE(file->copy_from(from.get(), 4096 + 1000, 0));
  ASSERT_TRUE(file->write(bytes_of(source.substr(0, 1000))));
  ASSERT_TRUE(file->copy_from(from.get(), 4096 + 1000, 50'000));
  ASSERT_TRUE(file->commit());
  EXPECT_TRUE(content_of(folder / "copy") == source.substr(0, 1000) + source.substr(5096, 50'000));
}

TEST(AtomicFile, SaysWhenTheSourceEndsEarly) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "source", "short"));
  const FileDescriptor from = *open_regular(folder / "source");
  auto file = AtomicFile::create(folder / "copy");
  const Status copied = file->copy_from(from.get(), 0, 6);
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, ErrorCode::kIo);
  EXPECT_THAT(copied.error().message, HasSubstr("the source ended"));
}

TEST(ReadFile, RefusesMoreThanItsLimit) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "f", "12345"));
  EXPECT_EQ(*read_file(folder / "f", 5), "12345");
  EXPECT_EQ(read_file(folder / "f", 4).error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(read_named("/dev/zero", 1000).error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(read_file("/dev/zero", 1000).error().code, ErrorCode::kIo);
  EXPECT_EQ(read_file(folder / "absent", 4).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_file(folder.path(), 4).error().code, ErrorCode::kIo);
}

TEST(StaleTemporaries, AreRemovedAfterTheirWriterDied) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto file = AtomicFile::create(folder / "f");
    const bool written = file && file->write(bytes_of("half")).has_value();
    ::_exit(written ? 0 : 1);  // no destructor runs, as after kill -9
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);
  ASSERT_EQ(entries_in(folder.path()), 1U);
  ASSERT_TRUE(remove_stale_temporaries(folder.path()));
  EXPECT_EQ(entries_in(folder.path()), 0U);
}

TEST(AtomicFile, MayBeOnlyForANewNameAndLeavesWhatAppearedMeanwhile) {
  const TemporaryFolder folder;
  const auto write = [&](std::string_view text) {
    auto file = AtomicFile::create(folder / "made");
    EXPECT_TRUE(file && file->write(std::as_bytes(std::span(text))));
    return file->commit_new();
  };
  EXPECT_TRUE(write("first"));
  const Status second = write("second");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(second.error().message, HasSubstr("appeared meanwhile"));
  EXPECT_EQ(content_of(folder / "made"), "first");
  EXPECT_EQ(entries_in(folder.path()), 1U) << "nothing else is left";
}

TEST(ReadFile, WaitsForNoPipeButForOneThatWasNamed) {
  const TemporaryFolder folder;
  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(read_file(pipe, kKiB).error().code, ErrorCode::kIo);
  std::thread writer([&] {
    const int end = ::open(pipe.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(::write(end, "text", 4), 4);
    ::close(end);
  });
  EXPECT_EQ(read_named(pipe, kKiB).value_or(""), "text");
  writer.join();
}

TEST(StaleTemporaries, OfLivingWritersAndOtherFilesStay) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "kept.tmp", "x"));
  auto file = AtomicFile::create(folder / "f");
  ASSERT_TRUE(file->write(bytes_of("abc")));
  ASSERT_TRUE(remove_stale_temporaries(folder.path()));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(content_of(folder / "f"), "abc");
  EXPECT_EQ(content_of(folder / "kept.tmp"), "x");
}

TEST(StaleTemporaries, InAFolderThatIsNotThereIsAnError) {
  EXPECT_EQ(remove_stale_temporaries("/nowhere/at/all").error().code, ErrorCode::kNotFound);
}

TEST(StaleTemporaries, RemovedWhileOthersWriteNeverLoseAFile) {
  const TemporaryFolder folder;
  std::atomic<bool> done{false};
  std::jthread sweeper([&] {
    while (!done) (void)remove_stale_temporaries(folder.path());
  });
  for (int i = 0; i < 200; ++i) {
    const Status written = write_file(folder / "f", std::to_string(i));
    EXPECT_TRUE(written) << written.error().message;
  }
  done = true;
  EXPECT_EQ(content_of(folder / "f"), "199");
}

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    if (value != nullptr) {
      ::setenv(name, value, 1);
    } else {
      ::unsetenv(name);
    }
  }
  ~Environment() {
    if (old_) {
      ::setenv(name_, old_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(DataFolder, FollowsFlagThenVariablesThenHome) {
  const TemporaryFolder root;
  const Environment own("GOGRID_DATA", (root / "own").c_str());
  EXPECT_EQ(*data_folder(root / "flag"), root / "flag");
  EXPECT_EQ(*data_folder({}), root / "own");
  const Environment no_own("GOGRID_DATA", nullptr);
  const Environment xdg("XDG_DATA_HOME", (root / "xdg").c_str());
  EXPECT_EQ(*data_folder({}), root / "xdg" / "gogrid");
  const Environment bad_xdg("XDG_DATA_HOME", "relative/is/invalid");
  const Environment home("HOME", (root / "home").c_str());
  EXPECT_EQ(*data_folder({}), root / "home" / ".local" / "share" / "gogrid");
  const Environment no_home("HOME", nullptr);
  const auto none = data_folder({});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().param, "data-dir");
}

TEST(DataFolder, IsForItsOwnerOnlyAndMayExist) {
  const TemporaryFolder root;
  const auto folder = data_folder(root / "a/b/");
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_EQ(*folder, root / "a/b");
  EXPECT_EQ(fs::status(*folder).permissions() & fs::perms::mask, fs::perms(0700));
  EXPECT_TRUE(data_folder(root / "a/b"));
}

TEST(DataFolder, ThatIsAFileIsRefused) {
  const TemporaryFolder root;
  ASSERT_TRUE(write_file(root / "f", ""));
  EXPECT_EQ(data_folder(root / "f").error().code, ErrorCode::kIo);
  EXPECT_FALSE(data_folder(root / "f/below"));
}

TEST(FileLock, LetsOneInAtATime) {
  const TemporaryFolder folder;
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto lock = FileLock::acquire(folder / "lock");
        ASSERT_TRUE(lock);
        most = std::max(most.load(), ++inside);
        std::this_thread::yield();
        --inside;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(most, 1);
}

TEST(FileLock, OfADeadProcessIsFree) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = FileLock::acquire(folder / "lock");
    ::_exit(lock ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(FileLock::acquire(folder / "lock"));
}

}  // namespace
}  // namespace gogrid

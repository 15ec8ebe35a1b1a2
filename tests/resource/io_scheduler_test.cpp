#include "resource/io_scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resource/fake_root.h"

namespace gogrid::testing {
namespace {

using ::testing::HasSubstr;

TEST(IoScheduler, IsTheOneInBrackets) {
  EXPECT_EQ(parse_io_scheduler("none [mq-deadline] kyber bfq\n"), "mq-deadline");
  EXPECT_EQ(parse_io_scheduler("[none]"), "none");
}

TEST(IoScheduler, IsUnknownWithoutOneNameInBrackets) {
  for (const char* text : {"", "none", "[", "]", "[]", "][", "none [bfq"}) {
    const auto parsed = parse_io_scheduler(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error(), HasSubstr("in brackets")) << text;
  }
}

TEST(IoScheduler, IsTheDisks) {
  const FakeRoot root;
  root.put("sys/dev/block/259:0/queue/scheduler", "[none] mq-deadline\n");
  EXPECT_EQ(io_scheduler(259, 0, root.path()), "none");
}

TEST(IoScheduler, OfAPartitionIsTheOneOfItsDisk) {
  const FakeRoot root;
  root.put("sys/devices/sda/queue/scheduler", "none [bfq]\n");
  root.put("sys/devices/sda/sda2/partition", "2\n");
  std::filesystem::create_directories(root.path() / "sys/dev/block");
  std::filesystem::create_directory_symlink(root.path() / "sys/devices/sda/sda2",
                                            root.path() / "sys/dev/block/8:2");
  EXPECT_EQ(io_scheduler(8, 2, root.path()), "bfq");
}

TEST(IoScheduler, IsUnknownByNameWhereAFileSystemIsOnNoDisk) {
  const FakeRoot root;
  const auto scheduler = io_scheduler(0, 42, root.path());
  ASSERT_FALSE(scheduler);
  EXPECT_THAT(scheduler.error(), HasSubstr("device 0:42"));
}

TEST(IoScheduler, IsUnknownByNameWhereTheFolderIsAbsent) {
  const auto scheduler = io_scheduler_of("/nonexistent-folder");
  ASSERT_FALSE(scheduler);
  EXPECT_THAT(scheduler.error(), HasSubstr("/nonexistent-folder: No such file"));
}

TEST(IoScheduler, HeedsClassesWithBfqAndMqDeadlineOnly) {
  EXPECT_TRUE(heeds_io_class("bfq"));
  EXPECT_TRUE(heeds_io_class("mq-deadline"));
  EXPECT_FALSE(heeds_io_class("none"));
  EXPECT_FALSE(heeds_io_class("kyber"));
}

}  // namespace
}  // namespace gogrid::testing

// The data folder, and how a MODEL argument is found.
#include "app/workspace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class WorkspaceTest : public ::testing::Test {
 protected:
  WorkspaceTest() { testing::write_tiny_model(model()); }
  fs::path model() const { return folder_ / "Tiny.Model.gguf"; }
  Workspace workspace() const {
    auto opened = Workspace::open(folder_ / "data");
    EXPECT_TRUE(opened) << opened.error().message;
    return *std::move(opened);
  }
  const testing::TemporaryFolder folder_;
};

TEST_F(WorkspaceTest, MakesItsFoldersAndOpensThemAgain) {
  EXPECT_TRUE(fs::is_directory(workspace().slices()));
  EXPECT_TRUE(fs::is_directory(workspace().measurements()));
  EXPECT_TRUE(Workspace::open(folder_ / "data"));
}

TEST_F(WorkspaceTest, RemovesWhatACrashLeftHalfWritten) {
  workspace();
  for (const char* folder : {"slices", "measurements", "digests"}) {
    const fs::path left = folder_ / "data" / folder / ".gogrid-0123456789abcdef.tmp";
    ASSERT_TRUE(write_file(left, "half"));
    EXPECT_TRUE(Workspace::open(folder_ / "data"));
    EXPECT_FALSE(fs::exists(left));
  }
}

TEST_F(WorkspaceTest, SaysWhichFolderItCannotMake) {
  ASSERT_TRUE(write_file(folder_ / "file", "x"));
  const auto workspace = Workspace::open(folder_ / "file");
  ASSERT_FALSE(workspace);
  EXPECT_THAT(workspace.error().message, HasSubstr((folder_ / "file").string()));
}

TEST_F(WorkspaceTest, FindsAFileByItsPathAndNamesItAfterTheFile) {
  const auto source = workspace().find(model().string());
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(source->name, "tiny.model");
  EXPECT_EQ(source->path, model());
  EXPECT_EQ(source->digest, *sha256_file(model()));
}

// Slices are kept by it.
TEST_F(WorkspaceTest, TheDigestOfAModelInPartsIsOfAllOfThem) {
  const auto write_part = [&](std::uint16_t number, float first) {
    testing::GgufBuilder part;
    part.key("split.no", testing::GgufBuilder::kU16, testing::GgufBuilder::number(number));
    part.key("split.count", testing::GgufBuilder::kU16,
             testing::GgufBuilder::number(std::uint16_t{2}));
    part.key("split.tensors.count", testing::GgufBuilder::kI32,
             testing::GgufBuilder::number(std::int32_t{2}));
    part.floats(number == 0 ? "a.weight" : "b.weight", {4}, first);
    const std::string name = number == 0 ? "big-00001-of-00002.gguf" : "big-00002-of-00002.gguf";
    ASSERT_TRUE(write_file(folder_ / name, part.build()));
  };
  const std::string path = folder_ / "big-00001-of-00002.gguf";
  write_part(0, 0);
  EXPECT_FALSE(workspace().find(path)) << "one is missing";
  write_part(1, 0);
  EXPECT_EQ(workspace().locate(path)->digest, "") << "nobody has read them";
  const auto source = workspace().find(path);
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(source->name, "big");
  EXPECT_EQ(workspace().locate(path)->digest, source->digest);
  write_part(1, 7);
  EXPECT_NE(workspace().find(path)->digest, source->digest);
}

TEST_F(WorkspaceTest, ReadsAFileOnceForItsDigestUntilTheFileChanges) {
  const Workspace space = workspace();
  int reports = 0;
  const Progress counting = [&](Bytes, Bytes) { return ++reports, true; };
  const auto first = space.find(model().string(), counting);
  ASSERT_GT(reports, 0);
  reports = 0;
  EXPECT_EQ(space.find(model().string(), counting)->digest, first->digest);
  EXPECT_EQ(reports, 0);
  testing::write_tiny_model(model(), {.seed = 2});
  EXPECT_NE(space.find(model().string(), counting)->digest, first->digest);
  EXPECT_GT(reports, 0);
}

TEST_F(WorkspaceTest, FindsALibraryModelByItsName) {
  const Workspace space = workspace();
  ASSERT_TRUE(space.library()->import_file(model(), "mine", "", {}));
  const auto source = space.find("mine");
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(source->name, "mine");
  EXPECT_EQ(source->digest, *sha256_file(model()));
}

TEST_F(WorkspaceTest, AMissingFileIsNotFound) {
  const auto source = workspace().find((folder_ / "none.gguf").string());
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(source.error().message, HasSubstr("none.gguf"));
}

TEST(NameFromFile, IsANameTheLibraryTakes) {
  EXPECT_EQ(name_from_file("/m/SmolLM2-135M.Q4_1.gguf"), "smollm2-135m.q4_1");
  EXPECT_EQ(name_from_file("a model (1).gguf"), "a-model--1-");
  EXPECT_EQ(name_from_file("--x.gguf"), "x");
  EXPECT_EQ(name_from_file("/m/Big-Q4_K-00001-of-00003.gguf"), "big-q4_k");
  EXPECT_EQ(name_from_file("\xc3\xa9.gguf"), "model");
  EXPECT_EQ(name_from_file(std::string(200, 'a') + ".gguf").size(), 63u);
}

}  // namespace
}  // namespace gogrid

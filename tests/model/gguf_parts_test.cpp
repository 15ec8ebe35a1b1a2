// Models in several files, read as one: whole ones, and those that lie about themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/files.h"
#include "model/gguf_file.h"
#include "model/gguf_merger.h"
#include "model/gguf_slicer.h"
#include "model/model_library.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::TemporaryFolder;

std::string u16(std::uint16_t number) { return GgufBuilder::number(number); }

class GgufParts : public ::testing::Test {
 protected:
  struct Part {
    std::uint16_t number = 0;  // from 0
    std::uint16_t count = 3;
    std::int32_t tensors = 4;  // in all
    GgufBuilder builder = {};
  };
  // Three parts of a toy model of two layers.
  GgufParts() {
    for (std::uint16_t i = 0; i < 3; ++i) parts_[i].number = i;
    parts_[0].builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 2);
    parts_[0].builder.floats("token_embd.weight", {4, 4});
    parts_[1].builder.floats("blk.0.a.weight", {8, 3}, 100).floats("blk.1.a.weight", {8, 3}, 200);
    parts_[2].builder.floats("output.weight", {4, 4}, 300);
  }
  fs::path path(int number) const {
    return folder_ / ("toy-0000" + std::to_string(number) + "-of-00003.gguf");
  }
  void write() {
    for (Part& part : parts_) {
      GgufBuilder builder = part.builder;
      builder.key("split.no", GgufBuilder::kU16, u16(part.number));
      builder.key("split.count", GgufBuilder::kU16, u16(part.count));
      builder.key("split.tensors.count", GgufBuilder::kI32, GgufBuilder::number(part.tensors));
      const auto at = static_cast<int>(&part - parts_.data()) + 1;
      ASSERT_TRUE(write_file(path(at), builder.build()));
    }
  }
  Error refusal() {
    write();
    auto file = GgufFile::open(path(1));
    if (file) return {ErrorCode::kInternal, "not refused", {}, {}};
    return std::move(file).error();
  }
  // The same model in one file.
  std::string whole() const {
    GgufBuilder builder;
    builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 2);
    builder.floats("token_embd.weight", {4, 4});
    builder.floats("blk.0.a.weight", {8, 3}, 100).floats("blk.1.a.weight", {8, 3}, 200);
    builder.floats("output.weight", {4, 4}, 300);
    return builder.build();
  }

  const TemporaryFolder folder_;
  std::array<Part, 3> parts_;
};

TEST_F(GgufParts, AreReadAsOneFileWithoutTheKeysOfTheSplit) {
  write();
  const auto file = GgufFile::open(path(1));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->part_paths(), ElementsAre(path(1), path(2), path(3)));
  EXPECT_THAT(file->metadata(), SizeIs(2));
  EXPECT_FALSE(file->unsigned_of("split.count"));
  EXPECT_EQ(file->unsigned_of("toy.block_count"), 2U);
  ASSERT_THAT(file->tensors(), SizeIs(4));
  const std::string one = whole();
  const auto same = GgufFile::parse(std::as_bytes(std::span(one)), "whole");
  ASSERT_TRUE(same);
  for (const GgufTensor& tensor : same->tensors()) {
    const GgufTensor* found = file->tensor(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(file->data(*found), same->data(tensor))) << tensor.name;
  }
  Bytes sizes = 0;
  for (int i = 1; i <= 3; ++i) sizes += fs::file_size(path(i));
  EXPECT_EQ(file->file_size(), sizes);
}

TEST_F(GgufParts, MergeIntoTheFileThatTheyWereCutFrom) {
  write();
  const auto file = GgufFile::open(path(1));
  ASSERT_TRUE(file);
  Bytes told = 0;
  auto made = write_merged(*file, *AtomicFile::create(folder_ / "whole.gguf"),
                           [&](Bytes done, Bytes total) {
                             told = done;
                             return done <= total;
                           });
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(made->commit());
  EXPECT_EQ(told, (16 + 24 + 24 + 16) * sizeof(float));
  EXPECT_EQ(read_file(folder_ / "whole.gguf", kMiB).value(), whole());
}

TEST_F(GgufParts, ASliceOfThemIsTheSliceOfTheWhole) {
  write();
  const std::string one = whole();
  const auto same = GgufFile::parse(std::as_bytes(std::span(one)), "whole");
  ASSERT_TRUE(write_slice(*GgufFile::open(path(1)), {1, 2}, folder_ / "a.gguf"));
  ASSERT_TRUE(write_slice(*same, {1, 2}, folder_ / "b.gguf"));
  const auto a = GgufFile::open(folder_ / "a.gguf");
  const auto b = GgufFile::open(folder_ / "b.gguf");
  ASSERT_TRUE(a && b);
  ASSERT_EQ(a->tensors().size(), b->tensors().size());
  for (const GgufTensor& tensor : b->tensors())
    EXPECT_TRUE(std::ranges::equal(a->data(*a->tensor(tensor.name)), b->data(tensor)));
}

TEST_F(GgufParts, BecomeOneModelOfTheLibrary) {
  write();
  auto library = ModelLibrary::open(folder_ / "library").value();
  std::vector<double> shares;
  const auto entry = library.import_file(path(1), "toy", {}, [&](Bytes done, Bytes total) {
    shares.push_back(static_cast<double>(done) / static_cast<double>(total));
    return true;
  });
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(read_file(entry->path, kMiB).value(), whole());
  EXPECT_TRUE(library.verify("toy"));
  EXPECT_TRUE(std::ranges::is_sorted(shares));
  EXPECT_DOUBLE_EQ(shares.back(), 1);
  const auto expected = library.import_file(path(1), "other", std::string(64, 'a'));
  ASSERT_FALSE(expected);
  EXPECT_THAT(expected.error().message, HasSubstr("SHA-256 is of one file"));
}

TEST_F(GgufParts, AnImportThatIsStoppedLeavesNothing) {
  write();
  auto library = ModelLibrary::open(folder_ / "library").value();
  for (const bool at_once : {true, false}) {
    const auto entry = library.import_file(path(1), "toy", {}, [&](Bytes done, Bytes total) {
      return !at_once && done <= total / 2;  // the second half is reading back
    });
    ASSERT_FALSE(entry);
    EXPECT_EQ(entry.error().code, ErrorCode::kCancelled);
    EXPECT_TRUE(fs::is_empty(folder_ / "library/blobs"));
  }
}

TEST_F(GgufParts, NameAPartThatIsMissing) {
  write();
  fs::remove(path(2));
  const auto file = GgufFile::open(path(1));
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(file.error().message, AllOf(HasSubstr("part 2 of 3"), HasSubstr(path(2).string())));
}

TEST_F(GgufParts, AreNamedByTheirFirst) {
  write();
  const auto second = GgufFile::open(path(2));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(second.error().message,
              AllOf(HasSubstr("NAME-00001-of-00003.gguf"), HasSubstr("part 2 of 3")));
  fs::rename(path(1), folder_ / "toy.gguf");
  const auto renamed = GgufFile::open(folder_ / "toy.gguf");
  ASSERT_FALSE(renamed);
  EXPECT_EQ(renamed.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(renamed.error().message, HasSubstr("-00001-of-00003.gguf"));
  fs::rename(folder_ / "toy.gguf", folder_ / "toy-00001-of-00004.gguf");
  EXPECT_EQ(GgufFile::open(folder_ / "toy-00001-of-00004.gguf").error().code,
            ErrorCode::kInvalidArgument);
}

TEST_F(GgufParts, ThatAreOfAnotherPlaceOrCountAreRefused) {
  parts_[1].number = 2;
  EXPECT_THAT(refusal().message, AllOf(HasSubstr("split.no 1"), HasSubstr("00002-of-00003")));
  parts_[1].number = 1;
  parts_[2].count = 4;
  EXPECT_THAT(refusal().message, HasSubstr("split.count 3"));
  parts_[2].count = 3;
  parts_[2].tensors = 5;
  EXPECT_THAT(refusal().message, HasSubstr("split.tensors.count 4"));
  parts_[2].tensors = 4;
  write();
  EXPECT_TRUE(GgufFile::open(path(1)));
}

TEST_F(GgufParts, WithMoreOrFewerTensorsThanTheySayAreRefused) {
  for (const std::int32_t count : {3, 5, 0, -1}) {
    for (Part& part : parts_) part.tensors = count;
    EXPECT_EQ(refusal().code, ErrorCode::kCorrupt) << count;
    EXPECT_THAT(refusal().message, HasSubstr("split.tensors.count")) << count;
  }
}

TEST_F(GgufParts, WithATensorInTwoOfThemAreRefused) {
  parts_[2].builder.floats("blk.0.a.weight", {8, 3});
  for (Part& part : parts_) part.tensors = 5;
  const Error error = refusal();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, AllOf(HasSubstr("blk.0.a.weight"), HasSubstr("in two")));
}

TEST_F(GgufParts, OfAnotherAlignmentAreRefused) {
  parts_[1].builder.alignment = 64;
  parts_[1].builder.key_u32("general.alignment", 64);
  EXPECT_THAT(refusal().message, HasSubstr("alignment"));
}

TEST_F(GgufParts, ThatAreBrokenAreRefused) {
  write();
  const std::string third = read_file(path(3), kMiB).value();
  ASSERT_TRUE(write_file(path(3), third.substr(0, third.size() / 2)));
  const auto file = GgufFile::open(path(1));
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(file.error().message, HasSubstr("00003-of-00003"));
}

// Before thousands of files are opened that a header of some bytes names.
TEST_F(GgufParts, InTheThousandsAreRefused) {
  parts_[0].count = 65535;
  write();
  fs::rename(path(1), folder_ / "toy-00001-of-65535.gguf");
  const auto file = GgufFile::open(folder_ / "toy-00001-of-65535.gguf");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(file.error().message, HasSubstr("65535"));
}

TEST_F(GgufParts, AreTogetherWithinTheLimitsOfOneFile) {
  write();
  const auto file = GgufFile::open(path(1), {.max_tensors = 3});
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kTooLarge);
}

// Its parts are not beside it: what is in memory is described as it is.
TEST_F(GgufParts, ReadFromMemoryAreParts) {
  write();
  const std::string bytes = read_file(path(1), kMiB).value();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "memory");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->unsigned_of("split.count"), 3U);
  EXPECT_TRUE(file->part_paths().empty());
}

}  // namespace
}  // namespace gogrid

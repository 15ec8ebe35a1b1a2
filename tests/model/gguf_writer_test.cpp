#include "model/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/gguf_file.h"
#include "support/gguf_builder.h"
#include "support/safetensors_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr std::uint32_t kF32 = GgufBuilder::kTensorF32;
constexpr std::uint32_t kQ4_0 = GgufBuilder::kTensorQ4_0;

class GgufWriting : public ::testing::Test {
 protected:
  Result<GgufWriter> begin(const GgufKeys& keys, std::vector<GgufTensorSpec> tensors) {
    auto file = AtomicFile::create(path());
    if (!file) return std::unexpected(file.error());
    return GgufWriter::begin(*std::move(file), keys, std::move(tensors));
  }
  std::string refusal(GgufTensorSpec spec) {
    const auto writer = begin({}, {std::move(spec)});
    EXPECT_FALSE(writer);
    return writer ? std::string() : writer.error().message;
  }
  std::filesystem::path path() const { return folder_ / "out.gguf"; }

  const TemporaryFolder folder_;
};

TEST_F(GgufWriting, OurReaderFindsEveryKeyAndTensorAgain) {
  GgufKeys keys;
  keys.text("general.architecture", "llama");
  keys.u32("u", 7);
  keys.f32("f", 0.5F);
  keys.flag("yes", true);
  keys.texts("t", std::vector<std::string>{"a", "", "c d"});
  keys.i32s("i", std::vector<std::int32_t>{-1, 2});
  keys.f32s("fs", std::vector<float>{1.5F});
  auto writer = begin(keys, {{"a", {3}, kF32}, {"b", {32, 2}, kQ4_0}, {"c", {1}, kF32}});
  ASSERT_TRUE(writer) << writer.error().message;
  EXPECT_EQ(writer->data_size(), 12U + 36U + 4U);

  const std::vector<float> a{1, 2, 3};
  std::vector<std::byte> b(36);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<std::byte>(i);
  testing::write_bytes(folder_ / "source", "....\x01\x02\x03\x04");
  const auto source = MappedFile::open(folder_ / "source");
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(a)).first(5)));
  ASSERT_TRUE(writer->write(std::as_bytes(std::span(a)).subspan(5)));
  ASSERT_TRUE(writer->write(b));
  ASSERT_TRUE(writer->copy_from(source->descriptor(), 4, 4));
  EXPECT_EQ(writer->written(), writer->data_size());
  auto file = writer->finish();
  ASSERT_TRUE(file && file->commit());

  const auto read = GgufFile::open(path());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->metadata().size(), keys.count());
  EXPECT_EQ(read->string_of("general.architecture"), "llama");
  EXPECT_EQ(read->unsigned_of("u"), 7U);
  EXPECT_EQ(read->float_of("f"), 0.5);
  EXPECT_EQ(read->bool_of("yes"), true);
  EXPECT_THAT(read->array_of("t")->strings(), ElementsAre("a", "", "c d"));
  EXPECT_THAT(read->array_of("i")->integers(), ElementsAre(-1, 2));
  EXPECT_THAT(read->array_of("fs")->floats(), ElementsAre(1.5));
  const auto bytes_of = [&](const char* name) { return read->data(*read->tensor(name)); };
  EXPECT_TRUE(std::ranges::equal(bytes_of("a"), std::as_bytes(std::span(a))));
  EXPECT_TRUE(std::ranges::equal(bytes_of("b"), b));
  EXPECT_TRUE(std::ranges::equal(bytes_of("c"), source->bytes().subspan(4)));
}

TEST_F(GgufWriting, NothingIsThereUntilItIsWholeAndCommitted) {
  auto writer = begin({}, {{"a", {2}, kF32}});
  ASSERT_TRUE(writer);
  const std::vector<std::byte> bytes(8);
  ASSERT_TRUE(writer->write(std::span(bytes).first(4)));
  EXPECT_THAT(writer->finish().error().message, HasSubstr("expected 8 bytes: 4"));
  EXPECT_THAT(writer->write(bytes).error().message, HasSubstr("expected 4 more bytes: 8"));
  ASSERT_TRUE(writer->write(std::span(bytes).first(4)));
  EXPECT_THAT(writer->write(std::span(bytes).first(1)).error().message,
              HasSubstr("behind the last: expected 0 more bytes: 1"));
  ASSERT_TRUE(writer->finish());
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(GgufWriting, ShapesThatNoFileCanHaveAreRefused) {
  EXPECT_THAT(refusal({"", {1}, kF32}), HasSubstr("a name of 1 to 63 bytes: 0"));
  EXPECT_THAT(refusal({std::string(64, 'x'), {1}, kF32}), HasSubstr("a name of 1 to 63 bytes: 64"));
  EXPECT_THAT(refusal({"a", {}, kF32}), HasSubstr("1 to 4 dimensions: 0"));
  EXPECT_THAT(refusal({"a", {1, 1, 1, 1, 1}, kF32}), HasSubstr("1 to 4 dimensions: 5"));
  EXPECT_THAT(refusal({"a", {0}, kF32}), HasSubstr("rows of a multiple of 1 elements for f32: 0"));
  EXPECT_THAT(refusal({"a", {33}, kQ4_0}), HasSubstr("a multiple of 32 elements for q4_0: 33"));
  EXPECT_THAT(refusal({"a", {1, 0}, kF32}), HasSubstr("expected elements: none"));
  EXPECT_THAT(refusal({"a", {1}, 9999}), HasSubstr("a type of ggml's: 9999"));
  EXPECT_THAT(refusal({"a", {1ULL << 40, 1ULL << 40}, kF32}), HasSubstr("less than 64 TiB"));
}

}  // namespace
}  // namespace gogrid

#include "model/gguf_file.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryFolder;

Result<GgufFile> parse(const std::string& bytes, const GgufLimits& limits = {}) {
  return GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf", limits);
}

TEST(GgufFile, ReadsEveryScalarType) {
  GgufBuilder builder;
  builder.key("u8", GgufBuilder::kU8, GgufBuilder::number(std::uint8_t{200}))
      .key("i8", GgufBuilder::kI8, GgufBuilder::number(std::int8_t{-100}))
      .key("u16", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{60'000}))
      .key("i16", GgufBuilder::kI16, GgufBuilder::number(std::int16_t{-30'000}))
      .key("u32", GgufBuilder::kU32, GgufBuilder::number(std::uint32_t{4'000'000'000}))
      .key("i32", GgufBuilder::kI32, GgufBuilder::number(std::int32_t{7}))
      .key("u64", GgufBuilder::kU64, GgufBuilder::number(~std::uint64_t{0}))
      .key("i64", GgufBuilder::kI64, GgufBuilder::number(std::int64_t{-5}))
      .key("f32", GgufBuilder::kF32, GgufBuilder::number(1.5F))
      .key("f64", GgufBuilder::kF64, GgufBuilder::number(2.5))
      .key("yes", GgufBuilder::kBool, GgufBuilder::number(std::uint8_t{1}))
      .key_text("text", "hello");
  const std::string bytes = builder.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->unsigned_of("u8"), 200U);
  EXPECT_EQ(std::get<std::int64_t>(file->find("i8")->value), -100);
  EXPECT_EQ(file->unsigned_of("u16"), 60'000U);
  EXPECT_EQ(std::get<std::int64_t>(file->find("i16")->value), -30'000);
  EXPECT_EQ(file->unsigned_of("u32"), 4'000'000'000U);
  EXPECT_EQ(file->unsigned_of("i32"), 7U) << "signed, but not negative";
  EXPECT_EQ(file->unsigned_of("u64"), ~std::uint64_t{0});
  EXPECT_EQ(file->unsigned_of("i64"), std::nullopt);
  EXPECT_EQ(file->float_of("f32"), 1.5);
  EXPECT_EQ(file->float_of("f64"), 2.5);
  EXPECT_EQ(file->bool_of("yes"), true);
  EXPECT_EQ(file->string_of("text"), "hello");
  EXPECT_EQ(file->metadata().size(), 12U);
  EXPECT_EQ(file->metadata()[0].first, "u8") << "in file order";
}

TEST(GgufFile, AnswersNothingForAKeyOfAnotherType) {
  GgufBuilder builder;
  builder.key_u32("number", 1).key_text("text", "1");
  const std::string bytes = builder.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->string_of("number"), std::nullopt);
  EXPECT_EQ(file->float_of("number"), std::nullopt);
  EXPECT_EQ(file->bool_of("number"), std::nullopt);
  EXPECT_EQ(file->array_of("number"), nullptr);
  EXPECT_EQ(file->unsigned_of("text"), std::nullopt);
  EXPECT_EQ(file->find("absent"), nullptr);
  EXPECT_EQ(file->unsigned_of("absent"), std::nullopt);
}

TEST(GgufFile, ReadsArraysOfEveryKind) {
  GgufBuilder builder;
  builder
      .key("i16", GgufBuilder::kArray,
           GgufBuilder::array_of<std::int16_t>(GgufBuilder::kI16, {-1, 2, 300}))
      .key("u64", GgufBuilder::kArray,
           GgufBuilder::array_of<std::uint64_t>(GgufBuilder::kU64, {1, ~std::uint64_t{0}}))
      .key("bools", GgufBuilder::kArray,
           GgufBuilder::array_of<std::uint8_t>(GgufBuilder::kBool, {1, 0}))
      .key("floats", GgufBuilder::kArray,
           GgufBuilder::array_of<float>(GgufBuilder::kF32, {0.5F, -2}))
      .key("texts", GgufBuilder::kArray, GgufBuilder::strings({"a", "", "long"}))
      .key("none", GgufBuilder::kArray, GgufBuilder::strings({}));
  const std::string bytes = builder.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->array_of("i16")->integers(), ElementsAre(-1, 2, 300));
  EXPECT_THAT(file->array_of("u64")->integers(), ElementsAre(1, INT64_MAX));
  EXPECT_THAT(file->array_of("bools")->integers(), ElementsAre(1, 0));
  EXPECT_THAT(file->array_of("floats")->floats(), ElementsAre(0.5, -2.0));
  EXPECT_THAT(file->array_of("texts")->strings(), ElementsAre("a", "", "long"));
  EXPECT_EQ(file->array_of("none")->count, 0U);
  EXPECT_THAT(file->array_of("none")->strings(), IsEmpty());
  EXPECT_THAT(file->array_of("texts")->integers(), IsEmpty());
  EXPECT_THAT(file->array_of("i16")->floats(), IsEmpty());
  EXPECT_THAT(file->array_of("i16")->strings(), IsEmpty());
}

TEST(GgufFile, PlacesTensorsInTheFile) {
  GgufBuilder builder;
  builder.floats("a", {3}, 10).floats("b", {2, 2, 1, 2}, 20);
  const std::string bytes = builder.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2U);
  const GgufTensor* b = file->tensor("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->n_dims, 4U);
  EXPECT_THAT(b->shape, ElementsAre(2, 2, 1, 2));
  EXPECT_EQ(b->type_name, "f32");
  EXPECT_EQ(b->size, 32U);
  EXPECT_EQ(b->offset, file->data_offset() + 32);
  EXPECT_EQ(file->data_offset() % 32, 0U);
  float first = 0;
  std::memcpy(&first, file->data(*b).data(), sizeof first);
  EXPECT_EQ(first, 20.0F);
  EXPECT_EQ(file->tensor("c"), nullptr);
}

TEST(GgufFile, ReadsVersionTwoToo) {
  GgufBuilder builder;
  builder.version = 2;
  builder.floats("a", {1});
  const std::string bytes = builder.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->version(), 2U);
}

TEST(GgufFile, FollowsTheAlignmentOfTheFile) {
  GgufBuilder builder;
  builder.alignment = 4096;
  builder.key_u32("general.alignment", 4096).floats("a", {1}).floats("b", {1});
  const std::string bytes = builder.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->alignment(), 4096U);
  EXPECT_EQ(file->data_offset(), 4096U);
  EXPECT_EQ(file->tensor("b")->offset, 8192U);
}

TEST(GgufFile, KnowsTheSizeOfEveryTypeThatGgmlKnows) {
  int known = 0;
  for (std::uint32_t type = 0; type < GGML_TYPE_COUNT + 5U; ++type) {
    GgufBuilder builder;
    builder.tensor({"t", {1024, 3}, type, std::string(1024 * 8 * 3, '\0'), {}, {}});
    const std::string bytes = builder.build();
    const auto file = parse(bytes);
    const bool exists = type < GGML_TYPE_COUNT && ggml_blck_size(static_cast<ggml_type>(type)) > 0;
    if (!exists || type == GGML_TYPE_Q8_1 || type == GGML_TYPE_Q8_K) {
      ASSERT_FALSE(file) << type;
      EXPECT_EQ(file.error().code, ErrorCode::kUnsupported) << type;
      continue;
    }
    ASSERT_TRUE(file) << type << " " << file.error().message;
    EXPECT_EQ(file->tensors()[0].size, 3 * ggml_row_size(static_cast<ggml_type>(type), 1024));
    EXPECT_EQ(file->tensors()[0].type_name, ggml_type_name(static_cast<ggml_type>(type)));
    ++known;
  }
  EXPECT_GE(known, 30);
}

TEST(GgufFile, TakesTheLastTensorWithoutItsPadding) {
  GgufBuilder builder;
  builder.floats("a", {3});
  std::string bytes = builder.header();
  bytes.resize((bytes.size() + 31) / 32 * 32 + 12);
  EXPECT_TRUE(parse(bytes));
  bytes.pop_back();
  EXPECT_FALSE(parse(bytes));
}

TEST(GgufFile, HoldsToTheLimitsItIsGiven) {
  GgufBuilder builder;
  builder.key_text("a", "12345").key("b", GgufBuilder::kArray, GgufBuilder::strings({"x", "y"}));
  builder.key("c", GgufBuilder::kArray, GgufBuilder::strings({"z"})).floats("t", {1});
  const std::string bytes = builder.build();
  const auto refused = [&](auto change) {
    GgufLimits limits;
    change(limits);
    const auto file = parse(bytes, limits);
    return file ? std::string("accepted") : file.error().message;
  };
  EXPECT_EQ(refused([](GgufLimits&) {}), "accepted");
  EXPECT_THAT(refused([](GgufLimits& l) { l.max_keys = 2; }), HasSubstr("at most 2 keys"));
  EXPECT_THAT(refused([](GgufLimits& l) { l.max_tensors = 0; }), HasSubstr("at most 0 tensors"));
  EXPECT_THAT(refused([](GgufLimits& l) { l.max_string = 4; }), HasSubstr("at most 4 bytes"));
  EXPECT_THAT(refused([](GgufLimits& l) { l.max_array_elements = 2; }),
              HasSubstr("at most 2 array elements"))
      << "counted over all arrays";
  EXPECT_THAT(refused([](GgufLimits& l) { l.max_header = 100; }), HasSubstr("header of at most"));
}

TEST(GgufFile, EveryPrefixOfAFileIsRefusedButTheWhole) {
  GgufBuilder builder;
  builder.key_u32("a", 1).key("b", GgufBuilder::kArray, GgufBuilder::strings({"x", "yy"}));
  builder.key("c", GgufBuilder::kF64, GgufBuilder::number(1.0)).floats("t", {2, 2});
  std::string bytes = builder.build();
  bytes.resize(bytes.size() - 16);  // the padding of the last tensor
  EXPECT_TRUE(parse(bytes));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto file = parse(bytes.substr(0, length));
    ASSERT_FALSE(file) << length;
    EXPECT_EQ(file.error().code, ErrorCode::kCorrupt) << length;
  }
}

TEST(GgufFile, OpenedFromDiskStaysValidWhenMoved) {
  const TemporaryFolder folder;
  GgufBuilder builder;
  builder.key_text("general.architecture", "llama").floats("t", {2});
  ASSERT_TRUE(write_file(folder / "m.gguf", builder.build()));
  auto opened = GgufFile::open(folder / "m.gguf");
  ASSERT_TRUE(opened) << opened.error().message;
  const GgufFile file = std::move(*opened);
  EXPECT_EQ(file.path(), folder / "m.gguf");
  EXPECT_EQ(file.string_of("general.architecture"), "llama");
  EXPECT_EQ(file.data(*file.tensor("t")).size(), 8U);
  EXPECT_GE(file.descriptor(), 0);
  EXPECT_EQ(file.file_size(), std::filesystem::file_size(folder / "m.gguf"));
}

TEST(GgufFile, NamesTheFileAtFault) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "m.gguf", "no model"));
  const auto file = GgufFile::open(folder / "m.gguf");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(file.error().message, HasSubstr("m.gguf: expected a GGUF file"));
  EXPECT_EQ(GgufFile::open(folder / "absent").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace gogrid

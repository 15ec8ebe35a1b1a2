#include "model/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/safetensors_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using testing::bytes_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::safetensors_of;
using testing::SafetensorsBuilder;
using ::testing::StartsWith;
using testing::TemporaryFolder;

Result<SafetensorsFile> parse(const std::string& bytes, const SafetensorsLimits& limits = {}) {
  return SafetensorsFile::parse(std::as_bytes(std::span(bytes)), "x", limits);
}

TEST(SafetensorsFile, TensorsAreFoundByNameWithTheirBytes) {
  const std::string bytes = SafetensorsBuilder()
                                .floats("b", {2, 2}, {1, 2, 3, 4})
                                .tensor("a", "BF16", {3}, "aabbcc")
                                .tensor("empty", "F16", {0, 7}, "")
                                .tensor("number", "I64", {}, std::string(8, '\1'))
                                .build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 4U);
  EXPECT_EQ(file->tensors()[0].name, "a");
  const SafetensorsTensor* b = file->tensor("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(to_string(b->type), "F32");
  EXPECT_THAT(b->shape, ElementsAre(2, 2));
  EXPECT_EQ(b->elements, 4U);
  const std::string values = bytes_of(std::vector<float>{1, 2, 3, 4});
  EXPECT_EQ(std::memcmp(file->data(*b).data(), values.data(), values.size()), 0);
  EXPECT_EQ(file->tensor("empty")->elements, 0U);
  EXPECT_EQ(file->tensor("number")->elements, 1U);
  EXPECT_EQ(file->tensor("c"), nullptr);
}

TEST(SafetensorsFile, MetadataAndPaddingBehindTheHeaderAreFine) {
  const auto file = parse(safetensors_of(
      R"({"__metadata__":{"format":"pt"},"a":{"shape":[1],"data_offsets":[0,1],"dtype":"U8"}}   )",
      "x"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->metadata(), ElementsAre(std::pair<std::string, std::string>("format", "pt")));
}

TEST(SafetensorsFile, AFileOnTheDiskIsMapped) {
  const TemporaryFolder folder;
  testing::write_bytes(folder / "m.safetensors",
                       SafetensorsBuilder().floats("a", {1}, {5}).build());
  const auto file = SafetensorsFile::open(folder / "m.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_GE(file->descriptor(), 0);
  const auto absent = SafetensorsFile::open(folder / "n.safetensors");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
}

struct Malformed {
  std::string bytes;
  std::string says;
  ErrorCode code = ErrorCode::kCorrupt;
};

std::string length_of(std::uint64_t length) { return bytes_of(std::vector<std::uint64_t>{length}); }

// One tensor of four bytes, with this in the place of its description.
std::string described(const std::string& description) {
  return safetensors_of(R"({"t":)" + description + "}", "1234");
}

std::vector<Malformed> malformed() {
  const std::string nested(100'000, '[');
  return {
      {"", "expected at least 8 bytes: 0"},
      {"1234567", "expected at least 8 bytes: 7"},
      {length_of(0), "does not begin with '{'"},
      {length_of(UINT64_MAX) + "{}", "expected a header of at most 2 bytes: 18446744073709551615"},
      {length_of(3) + "{}", "expected a header of at most 2 bytes: 3"},
      {safetensors_of("[]"), "does not begin with '{'"},
      {safetensors_of("{"), "expected a header in JSON"},
      {safetensors_of("{}{}"), "expected a header in JSON"},
      {safetensors_of("{\"a\xFF\":1}"), "expected a header in JSON"},
      {safetensors_of("{}", "x"), "expected 0 bytes of data, as the header says: 1"},
      {safetensors_of(R"({"t":1})"), R"(expected an object for "t": a number)"},
      {safetensors_of(R"({"t":)" + nested + "}"), R"(expected an object for "t": an array)"},
      {safetensors_of(R"({"":{"dtype":"U8"}})"), "expected a tensor's name"},
      {safetensors_of(R"({"a\nb":{"dtype":"U8"}})"), "expected a tensor's name"},
      {safetensors_of(R"({"__metadata__":{"a":1}})"), "expected texts in __metadata__: a number"},
      {safetensors_of(R"({"__metadata__":{"a":{}}})"), "expected texts in __metadata__"},
      {safetensors_of(R"({"__metadata__":{},"__metadata__":{}})"), "__metadata__ once: twice"},
      {described("{}"), "one is absent"},
      {described(R"({"dtype":"F32","shape":[1]})"), "one is absent"},
      {described(R"({"dtype":"F32","dtype":"F32"})"), "expected dtype once: twice"},
      {described(R"({"dtype":"F32","size":4})"), R"(data_offsets: "size")"},
      {described(R"({"dtype":"F4","shape":[8],"data_offsets":[0,4]})"),
       R"(expected a known dtype: "F4")", ErrorCode::kUnsupported},
      {described(R"({"dtype":32})"), "expected dtype, shape and data_offsets: a number"},
      {described(R"({"dtype":"F32","shape":4})"), "data_offsets: a number"},
      {described(R"({"dtype":"F32","shape":[-1]})"), "whole numbers in shape: a negative number"},
      {described(R"({"dtype":"F32","shape":[1.0]})"), "whole numbers in shape: a fraction"},
      {described(R"({"dtype":"F32","shape":[18446744073709551616]})"), "shape: a fraction"},
      {described(R"({"dtype":"F32","shape":[[1]]})"), "whole numbers in shape: an array"},
      {described(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1]})"), "at most 8 dimensions"},
      {described(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), "two whole numbers"},
      {described(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,4]})"), "two whole numbers"},
      {described(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), "within the 4 bytes"},
      {described(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})"), "within the 4 bytes"},
      {described(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), "8 bytes: 4 bytes"},
      {described(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})"),
       "more than 64 bits: 4 bytes"},
      {described(R"({"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4]})"),
       "more than 64 bits: 4 bytes"},
      {described(R"({"dtype":"U8","shape":[3],"data_offsets":[1,4]})"), "from byte 0: from byte 1"},
      {described(R"({"dtype":"U8","shape":[3],"data_offsets":[0,3]})"), "expected 3 bytes of data"},
      {safetensors_of(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                      "1234"),
       "from byte 3: from byte 2"},
      {safetensors_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                      R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                      "1234"),
       R"(expected each tensor once: "a" twice)"},
  };
}

TEST(MalformedSafetensors, EachIsRefusedInItsOwnWords) {
  for (const Malformed& one : malformed()) {
    SCOPED_TRACE(one.says);
    const auto file = parse(one.bytes);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().code, one.code);
    EXPECT_THAT(file.error().message, StartsWith("[safetensors] x: "));
    EXPECT_THAT(file.error().message, HasSubstr(one.says));
  }
}

TEST(MalformedSafetensors, EveryCutOfAFileIsRefused) {
  const std::string whole =
      SafetensorsBuilder().floats("a", {2}, {1, 2}).floats("b", {1}, {3}).build();
  ASSERT_TRUE(parse(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse(whole.substr(0, size))) << size;
  }
}

TEST(MalformedSafetensors, LimitsBoundWhatIsKept) {
  SafetensorsLimits limits;
  limits.max_tensors = 1;
  limits.max_metadata = 1;
  limits.max_name = 3;
  const auto refusal = [&](const std::string& bytes) {
    return parse(bytes, limits).error().message;
  };
  EXPECT_THAT(refusal(SafetensorsBuilder().floats("a", {0}, {}).floats("b", {0}, {}).build()),
              HasSubstr("at most 1 tensors"));
  EXPECT_THAT(refusal(SafetensorsBuilder().floats("abcd", {0}, {}).build()), HasSubstr("1 to 3"));
  EXPECT_THAT(refusal(safetensors_of(R"({"__metadata__":{"a":"","b":""}})")),
              HasSubstr("at most 1 entries"));
  limits.max_header = 1;
  EXPECT_THAT(refusal(safetensors_of("{}")), HasSubstr("at most 1 bytes: 2"));
}

}  // namespace
}  // namespace gogrid

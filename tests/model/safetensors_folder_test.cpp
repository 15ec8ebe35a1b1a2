#include "model/safetensors_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/format.h"
#include "support/safetensors_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::SafetensorsBuilder;
using testing::TemporaryFolder;
using testing::write_bytes;

class SafetensorsFolders : public ::testing::Test {
 protected:
  void write(const std::string& name, std::string_view bytes) {
    write_bytes(folder_ / name, bytes);
  }
  void write_index(std::string_view weight_map) {
    write("model.safetensors.index.json", format_text(R"({{"weight_map":{}}})", weight_map));
  }
  void write_two_shards() {
    write("1.safetensors", SafetensorsBuilder().floats("b", {1}, {1}).build());
    write("2.safetensors",
          SafetensorsBuilder().floats("a", {1}, {2}).floats("c", {1}, {3}).build());
  }
  Error refusal() const {
    const auto opened = SafetensorsFolder::open(folder_.path());
    EXPECT_FALSE(opened);
    return opened ? Error{} : opened.error();
  }

  const TemporaryFolder folder_;
};

TEST_F(SafetensorsFolders, OneFileNeedsNoIndex) {
  write("model.safetensors", SafetensorsBuilder().floats("a", {1}, {1}).build());
  const auto opened = SafetensorsFolder::open(folder_.path());
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->tensors().size(), 1U);
}

TEST_F(SafetensorsFolders, ShardsAreOneModel) {
  write_two_shards();
  write_index(R"({"a":"2.safetensors","b":"1.safetensors","c":"2.safetensors"})");
  const auto opened = SafetensorsFolder::open(folder_.path());
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_EQ(opened->tensors().size(), 3U);
  EXPECT_EQ(opened->tensors()[0].name(), "a");
  float value = 0;
  std::memcpy(&value, opened->tensor("c")->data().data(), sizeof value);
  EXPECT_EQ(value, 3);
  EXPECT_EQ(opened->tensor("d"), nullptr);
}

TEST_F(SafetensorsFolders, AnIndexThatDisagreesWithItsShardsIsRefused) {
  write_two_shards();
  write_index(R"({"a":"2.safetensors","b":"1.safetensors"})");
  EXPECT_THAT(refusal().message, HasSubstr("tensor \"c\": expected it in the index"));
  write_index(
      R"({"a":"2.safetensors","b":"1.safetensors","c":"2.safetensors","d":"1.safetensors"})");
  EXPECT_THAT(refusal().message, HasSubstr("expected the 2 tensors of the index: 1"));
  write_index(R"({"a":"3.safetensors"})");
  EXPECT_EQ(refusal().code, ErrorCode::kNotFound);
}

TEST_F(SafetensorsFolders, AnIndexNamesFilesOfItsFolderOnly) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "x.bin", ".safetensors", ""}) {
    write_index(format_text(R"({{"a":"{}"}})", name));
    EXPECT_THAT(refusal().message, HasSubstr("expected the name of a .safetensors file")) << name;
  }
  write_index(R"({"a":7})");
  EXPECT_THAT(refusal().message, HasSubstr("expected the name of a .safetensors file: \"7\""));
  write_index("[]");
  EXPECT_THAT(refusal().message, HasSubstr("expected the object weight_map"));
  write("model.safetensors.index.json", "nonsense");
  EXPECT_THAT(refusal().message, HasSubstr("expected JSON"));
}

TEST_F(SafetensorsFolders, AFolderWithoutWeightsSaysWhatItLacks) {
  EXPECT_EQ(refusal().code, ErrorCode::kNotFound);
  write("model.safetensors", SafetensorsBuilder().build());
  EXPECT_THAT(refusal().message, HasSubstr("expected tensors: none"));
}

TEST_F(SafetensorsFolders, PicklesAreNotRead) {
  write("pytorch_model.bin", "");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("can run code"));
}

}  // namespace
}  // namespace gogrid
